"""What commands that sign say of a `model.sig`. Spec: oms §7."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_verify.errors import CallerError

if TYPE_CHECKING:
    from model_attest.signers.signer import Signer

OmsOption = Annotated[
    bool, typer.Option("--oms", help="Write DIR/model.sig of OpenSSF Model Signing too, over all of it.")
]


def check_oms(signer: Signer, *, detached: bool = False) -> None:
    """Raise `CallerError` where no `model.sig` can be had, before hours of reading."""
    from model_attest.oms import require_ecdsa
    from model_attest.signers.certificate import CertificateSigner
    from model_attest.signers.key import KeySigner

    if detached:
        raise CallerError("`--oms` with `--detached`", hint="a `model.sig` lies in the model's folder")
    if isinstance(signer, KeySigner | CertificateSigner):
        require_ecdsa(signer.public_key)


def has_model_sig(folder: Path) -> bool:
    """Return whether there is a `model.sig`, which a new attestation makes outdated."""
    from model_verify.files import OMS_SIGNATURE_PATH

    return os.path.lexists(folder / OMS_SIGNATURE_PATH)
