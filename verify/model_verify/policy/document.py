"""From the bytes of a policy file to a policy. Spec: policy §1, §2.

Whatever is wrong with a policy is the caller's error: there is no verdict under a policy that was not understood.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from model_verify.digest import CheckpointRoot, FileDigest
from model_verify.envelope import (
    ExpectedCertificate,
    ExpectedIdentity,
    ExpectedJob,
    ExpectedSigner,
    Identity,
    PublicKey,
    SignatureCheck,
    TimestampAuthority,
)
from model_verify.errors import CallerError, CertificateUnreadable, KeyUnreadable
from model_verify.findings import REASONS
from model_verify.models.policy import (
    LicenseRules,
    NamedSigners,
    PolicyDocument,
    SignerRules,
    TimestampRules,
)
from model_verify.policy.licenses import MalformedLicense, read_license
from model_verify.small_file import read_small

MAX_POLICY_BYTES = 256 << 10
MAX_NAMED_FILE_BYTES = 4 << 20
"""Of a key or a trust configuration that a policy names."""
ReadFile = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class AcceptedSigners:
    """Who may have signed. A hint accepts a key that the caller names beside the policy; it cannot stand for one."""

    signers: tuple[ExpectedSigner, ...]
    hints: frozenset[str]

    def accepts(self, check: SignatureCheck) -> bool:
        """Return whether the one who is known to have signed may have."""
        if isinstance(check.signer, PublicKey):
            return check.signer.hint in self.hints
        return check.signer in self.signers or any(_is_job(check, signer) for signer in self.signers)


def _is_job(check: SignatureCheck, accepted: ExpectedSigner) -> bool:
    """Return whether a signer that the policy accepts is a job, and that job signed."""
    return (
        isinstance(accepted, ExpectedJob)
        and isinstance(check.signer, ExpectedIdentity)
        and check.claims is not None
        and check.signer.trust_config == accepted.trust_config
        and accepted.is_met(check.signer.identity, check.claims)
    )


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that was understood; `digest` is that of its file."""

    digest: FileDigest
    rules: PolicyDocument
    signers: AcceptedSigners | None = None
    anchors: Mapping[CheckpointRoot, str] = field(default_factory=dict)
    """The caller's own names of checkpoint roots."""
    authorities: tuple[TimestampAuthority, ...] = ()
    """Whose timestamps count, where the caller names no others."""
    revokers: tuple[ExpectedSigner, ...] = ()
    """Who may revoke everything."""
    observers: tuple[ExpectedSigner, ...] = ()
    """Whose observations are taken."""
    files: tuple[Path, ...] = ()
    """What it was read from: the policy file, and those that it names."""


def load_policy(path: Path) -> Policy:
    """Return the policy in a file; the files that it names lie relative to it. Raises `CallerError`."""
    named: list[Path] = [path]

    def read_named(name: str) -> bytes:
        named.append(path.parent / name)
        return read_small(named[-1], MAX_NAMED_FILE_BYTES)

    policy = read_policy(read_small(path, MAX_POLICY_BYTES), name=str(path), read_file=read_named)
    return replace(policy, files=tuple(named))


def read_policy(data: bytes, *, name: str, read_file: ReadFile) -> Policy:
    """Return the policy that a file's bytes are.

    `name` is the file's, for what is said of it; `read_file` gives the bytes of a file that the policy names, and
    raises `CallerError`.

    Raises `CallerError` that names the file and the key: for what is no TOML, a key that is not known, a value of
    another type, a reason code that is not known, a file that is no key.
    """
    members = _parse(data, name)
    try:
        rules = PolicyDocument.read(members)
    except ValidationError as error:
        raise _refused(error, name) from error
    for code in rules.findings.refused if rules.findings else ():
        if code not in REASONS:
            raise CallerError(f"{name}: findings.refused: `{code}` is no reason code", hint=_close(code, REASONS))
        if not REASONS[code][1].startswith("V"):
            raise CallerError(
                f"{name}: findings.refused: `{code}` is of summaries",
                hint="no report on a model has it, so it is no rule",
            )
    _check_licenses(rules, name)
    anchors = {root: anchor for anchor, root in (rules.anchors or {}).items()}
    if len(anchors) != len(rules.anchors or {}):
        raise CallerError(f"{name}: anchors: one root under two names", hint="a root has one name in a report")
    signers = None if rules.signers is None else _accepted(rules.signers, name, read_file)
    authorities = () if rules.timestamps is None else tuple(_authorities(rules.timestamps, name, read_file))
    revokers = (
        ()
        if rules.revocations is None
        else _known(rules.revocations.signers, f"{name}: revocations.signers", read_file)
    )
    observers = () if rules.observers is None else _known(rules.observers, f"{name}: observers", read_file)
    return Policy(FileDigest(hashlib.sha256(data).digest()), rules, signers, anchors, authorities, revokers, observers)


def _parse(data: bytes, name: str) -> dict[str, Any]:
    if len(data) > MAX_POLICY_BYTES:
        raise CallerError(f"{name}: larger than a policy can be, {MAX_POLICY_BYTES} bytes")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]
        raise CallerError(f"{name}: not a policy in TOML: {reason}") from error


def _refused(error: ValidationError, name: str) -> CallerError:
    """Return what to say of the first thing that is wrong; a key that is not known comes first, and by name."""
    found = error.errors(include_url=False, include_input=False)
    details = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    place = [json.dumps(str(part))[1:-1][:100] for part in details["loc"] if part != "[key]"]
    key = ".".join(place)[:300]
    if details["type"] == "extra_forbidden":
        return CallerError(
            f"{name}: unknown key `{key}`", hint=_close(place[-1], _known_keys(PolicyDocument.model_json_schema()))
        )
    return CallerError(f"{name}: {key or 'the policy'}: {_reason(details)}")


def _reason(details: ErrorDetails) -> str:
    return " ".join(details["msg"].split())[:200]


def _known_keys(schema: Mapping[str, Any]) -> set[str]:
    """Return the names of all keys of all tables."""
    tables = [schema, *schema.get("$defs", {}).values()]
    return {key for table in tables for key in table.get("properties", {})}


def _close(word: str, known: Mapping[str, object] | set[str]) -> str | None:
    near = difflib.get_close_matches(word[:64], known, n=1)
    return f"did you mean `{near[0]}`?" if near else None


def _check_licenses(rules: PolicyDocument, name: str) -> None:
    licenses = rules.licenses or LicenseRules()
    for key, terms in (("allowed", licenses.allowed), ("denied", licenses.denied)):
        for place, term in enumerate(terms or ()):
            try:
                read_license(term)
            except MalformedLicense as error:
                raise CallerError(f"{name}: licenses.{key}.{place}: `{term}` is not one licence: {error}") from error


def _accepted(rules: SignerRules, name: str, read_file: ReadFile) -> AcceptedSigners:
    if not (rules.keys or rules.hints or rules.identities or rules.jobs or rules.certificates):
        raise CallerError(
            f"{name}: signers: accepts nobody",
            hint="name `keys`, `hints`, `identities`, `jobs` or `certificates`, or leave it out",
        )
    signers = _signers(rules, f"{name}: signers", read_file)
    hints = {signer.hint for signer in signers if isinstance(signer, PublicKey)}
    return AcceptedSigners(signers, frozenset({*hints, *(rules.hints or ())}))


def _known(rules: NamedSigners, table: str, read_file: ReadFile) -> tuple[ExpectedSigner, ...]:
    signers = _signers(rules, table, read_file)
    if not signers:
        raise CallerError(
            f"{table}: names nobody",
            hint="name `keys`, `identities`, `jobs` or `certificates`, or leave it out",
        )
    return signers


def _signers(rules: NamedSigners, table: str, read_file: ReadFile) -> tuple[ExpectedSigner, ...]:
    """Return the signers that a table names and that are at hand; `table` is its name, after that of the policy."""
    keys = list(_keys(rules, table, read_file))

    def trust(where: str, file: str | None) -> bytes | None:
        return None if file is None else _named(f"{table}.{where}.trust-config", file, read_file)

    identities = [
        ExpectedIdentity(Identity(one.name, one.issuer), trust(f"identities.{place}", one.trust_config))
        for place, one in enumerate(rules.identities or ())
    ]
    jobs = [
        ExpectedJob(one.issuer, one.repository, one.workflow, one.ref, trust(f"jobs.{place}", one.trust_config))
        for place, one in enumerate(rules.jobs or ())
    ]
    return (*keys, *identities, *jobs, *_certificates(rules, table, read_file))


def _keys(rules: NamedSigners, table: str, read_file: ReadFile) -> Iterator[PublicKey]:
    for place, path in enumerate(rules.keys or ()):
        where = f"{table}.keys.{place}"
        pem = _named(where, path, read_file)
        try:
            yield PublicKey.from_pem(pem)
        except KeyUnreadable as error:
            raise CallerError(f"{where}: {path}: {error.message}", hint=error.hint) from error


def _certificates(rules: NamedSigners, table: str, read_file: ReadFile) -> Iterator[ExpectedCertificate]:
    from model_verify.envelope.pem import read_certificates, read_crls

    for place, one in enumerate(rules.certificates or ()):
        where = f"{table}.certificates.{place}"
        roots = _parsed(f"{where}.roots", one.roots, read_file, read_certificates)
        lists = enumerate(one.crls or ())
        crls = tuple(_parsed(f"{where}.crls.{number}", path, read_file, read_crls) for number, path in lists)
        yield ExpectedCertificate(one.name, roots, crls)


def _parsed(where: str, path: str, read_file: ReadFile, parse: Callable[[bytes], object]) -> bytes:
    """Return the bytes of a file of certificates, once they are found to be some."""
    data = _named(where, path, read_file)
    try:
        parse(data)
    except CertificateUnreadable as error:
        raise CallerError(f"{where}: {path}: {error.message}", hint=error.hint) from error
    return data


def _authorities(rules: TimestampRules, name: str, read_file: ReadFile) -> Iterator[TimestampAuthority]:
    for place, path in enumerate(rules.authorities):
        where = f"{name}: timestamps.authorities.{place}"
        yield TimestampAuthority.from_pem(_parsed(where, path, read_file, TimestampAuthority.from_pem))


def _named(where: str, path: str, read_file: ReadFile) -> bytes:
    try:
        return read_file(path)
    except CallerError as error:
        raise CallerError(f"{where}: {error.message}", hint=error.hint) from error
