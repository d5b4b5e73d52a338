"""`attest keygen`: a pair of keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from model_attest.commands.arguments import JsonFlag, PasswordOption, place, read_password
from model_attest.console import Answer


class KeyType(StrEnum):
    """What a verifier knows. Spec: statement §5."""

    p256 = "p256"
    p384 = "p384"
    ed25519 = "ed25519"
    ml_dsa_65 = "ml-dsa-65"


def keygen(
    out: Annotated[str, typer.Option("--out", metavar="PATH", help="Write PATH (private) and PATH.pub (public).")],
    key_type: Annotated[
        KeyType, typer.Option("--type", help="ECDSA P-256, ECDSA P-384, Ed25519, or ML-DSA-65.")
    ] = KeyType.p256,
    password_file: PasswordOption = None,
    json: JsonFlag = False,
) -> Answer:
    """Make a key pair.

    PATH signs and stays with you, PATH.pub goes to whoever verifies. Without a password the private key lies on the
    disk as it is, readable by you alone. No file is replaced.

    \b
    exit codes
      0  both files are written
      2  could not write them; then neither is there

    \b
    example
      attest keygen --out lab --type ed25519
    """
    from model_attest.commands.documents import KeygenAnswer, members
    from model_attest.signers.key import generate_key, public_path, write_key_pair

    path = place(out)
    password = read_password(password_file)
    public_key = write_key_pair(generate_key(key_type.value), path, password=password)
    answer = KeygenAnswer(
        private_key=str(path),
        public_key=str(public_path(path)),
        type=key_type.value,
        hint=public_key.hint,
        encrypted=password is not None,
    )
    lines = [
        f"{answer.private_key}  private{', encrypted' if answer.encrypted else ''}: sign with it, show it to nobody",
        f"{answer.public_key}  public: give it to whoever verifies",
        f"key sha256:{answer.hint}  {answer.type}",
    ]
    return Answer(lines, members(answer))
