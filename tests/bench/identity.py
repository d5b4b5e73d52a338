"""Print how long it takes from a statement to a bundle, and from a bundle to a verified statement, as an identity.

    python tests/bench/identity.py [ROUNDS]

Against a Sigstore on loopback, so without the network's share; importing the client is printed apart. Neither depends
on the model's size: a statement holds the manifest's digest.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

STATEMENT = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "attestation/manifest.json", "digest": {"sha256": "00" * 32}}],
    "predicateType": "https://model-attest.github.io/pipeline/v1",
    "predicate": {
        "model": {"name": "town-7b", "checkpointRoot": "sha256:" + "00" * 32},
        "resolvedDependencies": [],
        "steps": [],
    },
}


def main(rounds: int) -> None:
    started = time.perf_counter()
    from model_attest.signers.sigstore import SigstoreSigner
    from model_verify.envelope import check_signature, open_bundle
    from model_verify.statement import read_statement

    print(f"import of the client   {time.perf_counter() - started:6.3f} s")
    from tests.sigstore.instance import running

    statement = json.dumps(STATEMENT).encode()
    with running() as instance:
        for rekor in (1, 2):
            config = json.dumps(instance.trust_config(rekor=rekor)).encode()
            signer = SigstoreSigner(instance.issuer.ci_token, config)
            signing, verifying = [], []
            for _ in range(rounds):
                started = time.perf_counter()
                bundle = signer.sign(statement)
                signing.append(time.perf_counter() - started)
                started = time.perf_counter()
                signed = open_bundle(bundle)
                assert check_signature(signed, signer.expected(signed)).holds
                read_statement(signed.payload)
                verifying.append(time.perf_counter() - started)
            for what, seconds in (("statement to bundle", signing), ("bundle to statement", verifying)):
                times = f"first {seconds[0]:.3f}  median {statistics.median(seconds):.3f}  worst {max(seconds):.3f} s"
                print(f"rekor v{rekor}, {what}  {times}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
