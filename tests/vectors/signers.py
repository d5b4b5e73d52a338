"""Whom a vector expects to have signed."""

from __future__ import annotations

from model_verify.envelope import (
    ExpectedCertificate,
    ExpectedIdentity,
    ExpectedJob,
    ExpectedSigner,
    Identity,
    PublicKey,
)
from tests.vectors.vector import Vector


def expected_signer(vector: Vector) -> ExpectedSigner | None:
    if (key := vector.input["key"]) is not None:
        return PublicKey.from_pem((vector.folder / key).read_bytes())
    if (named := vector.input.get("certificate")) is not None:
        crls = tuple((vector.folder / name).read_bytes() for name in named["crls"])
        return ExpectedCertificate(named["name"], (vector.folder / named["roots"]).read_bytes(), crls)
    if (job := vector.input.get("job")) is not None:
        trust_config = (vector.folder / job["trust_config"]).read_bytes()
        return ExpectedJob(job["issuer"], job["repository"], job.get("workflow"), job.get("ref"), trust_config)
    if (expected := vector.input.get("identity")) is None:
        return None
    trust_config = (vector.folder / expected["trust_config"]).read_bytes()
    return ExpectedIdentity(Identity(expected["name"], expected["issuer"]), trust_config)
