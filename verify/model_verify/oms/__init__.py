"""A `model.sig` of OpenSSF Model Signing: whether a signer whom the caller named binds the folder's bytes. Spec: oms.

    hint      how such a bundle names its key
    roots     chains of certificates as it sends them
    signer    whether somebody whom the caller named signed it
    listing   from the signed payload to what it lists, checked for its form
    hashes    the hashes that it may be made with
    content   what it lists against what is in the folder
    check     all of these in order

It says nothing of where weights come from, so it never makes a verdict better.
"""

from model_verify.oms.check import ModelSigCase, ModelSigCheck, check_model_sig
from model_verify.oms.hint import pem_hint
from model_verify.oms.listing import PREDICATE_TYPE, Listing, Resource, read_listing, subject_digest

__all__ = [
    "PREDICATE_TYPE",
    "Listing",
    "ModelSigCase",
    "ModelSigCheck",
    "Resource",
    "check_model_sig",
    "pem_hint",
    "read_listing",
    "subject_digest",
]
