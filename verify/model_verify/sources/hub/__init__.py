"""Repositories of the Hugging Face Hub, streamed. Only here does the verifier use huggingface_hub."""

from model_verify.sources.hub.connection import Connection
from model_verify.sources.hub.reference import HubReference, is_explicit, parse_reference
from model_verify.sources.hub.settings import cached_snapshot, endpoints, is_offline
from model_verify.sources.hub.source import HubSource

__all__ = [
    "Connection",
    "HubReference",
    "HubSource",
    "cached_snapshot",
    "endpoints",
    "is_explicit",
    "is_offline",
    "parse_reference",
]
