"""Publish a signed model: put it on the Hub as one commit, and hold what the Hub then has against what was signed."""

from model_attest.publish.check import check_published
from model_attest.publish.plan import UploadPlan, plan_upload
from model_attest.publish.upload import upload

__all__ = ["UploadPlan", "check_published", "plan_upload", "upload"]
