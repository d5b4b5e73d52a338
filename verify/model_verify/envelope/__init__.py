"""From a bundle's bytes to the bytes that an expected signer has signed. Spec: statement §4 to §6; verification V2, V3.

    bundle       what a bundle carries, unverified
    key          public keys, and signatures by them
    identity     who signs without a key of their own: a name, or a job, by the word of an issuer
    certificate  whom a certificate of a Sigstore instance names, unverified
    leaf         whom a chain of certificates names, unverified
    check        whether the expected signer signed
    sigstore     signatures under certificates, by the sigstore client; imported only where one is checked
    chain        whether certificates lead to a root of the caller's
    revocation   whether they were revoked
    certified    signatures under such certificates; imported only where one is checked
    authority    whose timestamps the caller takes
    timestamps   timestamps of RFC 3161; imported only where one is checked
    dating       when a bundle was signed, by its timestamps
    pem          certificates in files of the caller's
    evidence     when something was signed, and by whose word

Everything that the payload says is parsed elsewhere, after this.
"""

from model_verify.envelope.authority import TimestampAuthority, TimeTrust
from model_verify.envelope.bundle import (
    MAX_BUNDLE_BYTES,
    SignedPayload,
    is_statement,
    open_bundle,
)
from model_verify.envelope.check import ExpectedSigner, KnownSigner, SignatureCheck, check_signature, names_signer
from model_verify.envelope.evidence import LogPlace, SigningTime, TimeEvidence
from model_verify.envelope.identity import ExpectedCertificate, ExpectedIdentity, ExpectedJob, Identity, JobClaims
from model_verify.envelope.key import PublicKey, ecdsa_hash, pre_authentication_encoding

__all__ = [
    "MAX_BUNDLE_BYTES",
    "ExpectedCertificate",
    "ExpectedIdentity",
    "ExpectedJob",
    "ExpectedSigner",
    "Identity",
    "JobClaims",
    "KnownSigner",
    "LogPlace",
    "PublicKey",
    "SignatureCheck",
    "SignedPayload",
    "SigningTime",
    "TimeEvidence",
    "TimeTrust",
    "TimestampAuthority",
    "check_signature",
    "ecdsa_hash",
    "is_statement",
    "names_signer",
    "open_bundle",
    "pre_authentication_encoding",
]
