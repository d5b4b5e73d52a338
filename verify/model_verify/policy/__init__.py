"""Whom and what the caller trusts, beyond what the standard asks of every model. Spec: policy.

    document    from the bytes of a policy file to a `Policy`
    licenses    SPDX licence expressions
    rules       the findings of rules that are not met

A policy adds findings of severity fail and takes none away, so it is stricter than the standard and never looser.
"""

from model_verify.policy.document import Policy, load_policy, read_policy
from model_verify.policy.rules import Evidence, anchored, evaluate

__all__ = ["Evidence", "Policy", "anchored", "evaluate", "load_policy", "read_policy"]
