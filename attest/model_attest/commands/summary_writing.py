"""The options of `attest verify` that sign a summary of what came of it, and what they ask for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_attest.commands.arguments import place
from model_attest.commands.references import local_roots
from model_attest.commands.trust import any_signer, timestamped
from model_verify.errors import AttestError, CallerError

if TYPE_CHECKING:
    from model_attest.signers.signer import Signer
    from model_attest.summary import SummaryTerms
    from model_verify.digest import FileDigest
    from model_verify.envelope import TimeTrust
    from model_verify.policy import Policy
    from model_verify.report import Report
    from model_verify.sources.source import Source

COULD_NOT_RUN = 2

SummaryOption = Annotated[
    str | None,
    typer.Option(
        "--summary", metavar="OUT", help="Sign a summary of the result, for others to rely on, into this file."
    ),
]
SummaryVerifierOption = Annotated[
    str | None,
    typer.Option("--summary-verifier", metavar="URI", help="Who stands behind it, like https://agency.example/models."),
]
SummaryResourceOption = Annotated[
    str | None,
    typer.Option(
        "--summary-resource",
        metavar="URI",
        help="From where its readers have the model, like pkg:huggingface/ORG/NAME.",
    ),
]
SummaryKeyOption = Annotated[
    str | None,
    typer.Option("--summary-key", metavar="FILE", help="The private key that signs it, PEM; else an identity signs."),
]
SummaryKmsOption = Annotated[
    str | None,
    typer.Option("--summary-kms", metavar="URI", help="That key in a token or a key service, as in hsm:2."),
]
SummaryCertificateOption = Annotated[
    str | None,
    typer.Option("--summary-certificate", metavar="FILE", help="That key's certificate and those up to its root, PEM."),
]
SummaryCertificateRootOption = Annotated[
    str | None,
    typer.Option(
        "--summary-certificate-root", metavar="FILE", help="The authorities that its readers will go by, to check it."
    ),
]
SummaryPasswordOption = Annotated[
    str | None,
    typer.Option("--summary-password-file", metavar="FILE", help="File whose first line is that key's password."),
]
SummaryTokenOption = Annotated[
    str | None,
    typer.Option(
        "--summary-identity-token",
        metavar="FILE",
        help="Who signs it; else the CI job that this runs in, or who answers.",
    ),
]
SummaryTrustConfigOption = Annotated[
    str | None,
    typer.Option("--summary-trust-config", metavar="FILE", help="The private Sigstore that certifies who signs it."),
]
SummaryTimestampUrlOption = Annotated[
    str | None,
    typer.Option("--summary-timestamp-url", metavar="URL", help="Have this timestamping authority date its signature."),
]
SummaryExpiresOption = Annotated[
    int | None,
    typer.Option("--summary-expires", metavar="DAYS", min=1, max=36_500, help="For how long it holds; else for good."),
]
SummaryPolicyUriOption = Annotated[
    str | None,
    typer.Option(
        "--summary-policy-uri", metavar="URI", help="What the policy is called in it; its digest is there too."
    ),
]


@dataclass(frozen=True, slots=True)
class SummaryOptions:
    """The options as they were written."""

    out: str | None
    verifier: str | None
    resource: str | None
    key: str | None
    kms: str | None
    certificate: str | None
    certificate_root: str | None
    password_file: str | None
    identity_token: str | None
    trust_config: str | None
    timestamp_url: str | None
    expires_days: int | None
    policy_uri: str | None

    def _written(self) -> list[str]:
        values = {
            "--summary-verifier": self.verifier,
            "--summary-resource": self.resource,
            "--summary-key": self.key,
            "--summary-kms": self.kms,
            "--summary-certificate": self.certificate,
            "--summary-certificate-root": self.certificate_root,
            "--summary-password-file": self.password_file,
            "--summary-identity-token": self.identity_token,
            "--summary-trust-config": self.trust_config,
            "--summary-timestamp-url": self.timestamp_url,
            "--summary-expires": self.expires_days,
            "--summary-policy-uri": self.policy_uri,
        }
        return [name for name, value in values.items() if value is not None]

    def plan(
        self, source: Source, policy: Policy | None, *, required_level: int | None, trust: TimeTrust
    ) -> SummaryPlan | None:
        """Return what is to be written, or None; whatever can be refused is refused before the model is read."""
        if self.out is None:
            if written := self._written():
                raise CallerError(f"`{written[0]}` without `--summary`", hint="`--summary OUT` names the file to write")
            return None
        from model_attest.summary import SummaryTerms, check_place

        path = place(self.out)
        if any(path.resolve().is_relative_to(root) for root in local_roots([source])):
            raise CallerError(f"{path} lies in the model's folder", hint="name a file outside of it")
        check_place(path)
        if self.verifier is None:
            raise CallerError(
                "`--summary` without `--summary-verifier`", hint="name who verifies by a URI that your readers know"
            )
        if self.policy_uri is not None and policy is None:
            raise CallerError("`--summary-policy-uri` without `--policy`", hint="it says what the policy is called")
        terms = SummaryTerms(
            verifier=self.verifier,
            resource=_resource(source, self.resource),
            verified_at=datetime.now(UTC),
            policy=None if policy is None else policy.digest,
            policy_uri=self.policy_uri,
            expires_days=self.expires_days,
            required_level=required_level,
        )
        signer = any_signer(
            key=self.key,
            kms=self.kms,
            certificate=self.certificate,
            certificate_root=self.certificate_root,
            password_file=self.password_file,
            identity_token=self.identity_token,
            trust_config=self.trust_config,
            options="--summary-",
        )
        return SummaryPlan(path, terms, timestamped(signer, self.timestamp_url, options="--summary-"), trust)


def _resource(source: Source, named: str | None) -> str:
    """Return the resource that the summary is for: as the caller says, else the model's place on the Hub."""
    known = source.repository
    if named is None:
        if known is None:
            raise CallerError(
                "`--summary` without `--summary-resource`", hint="say from where your readers are to have the model"
            )
        return known if source.commit is None else f"{known}@{source.commit}"
    if known is not None and named.startswith("pkg:") and repository_of(named) != known:
        raise CallerError(f"`{named}` is not the repository of this model", hint=f"it is {known}")
    return named


def repository_of(uri: str) -> str | None:
    """Return the repository that a package URL names, without version and what follows it; None for another URI."""
    if not uri.startswith("pkg:"):
        return None
    for mark in "#?@":
        uri = uri.partition(mark)[0]
    return uri


@dataclass(frozen=True, slots=True)
class SummaryPlan:
    """A summary that is to be written when the model has been verified."""

    path: Path
    terms: SummaryTerms
    signer: Signer
    trust: TimeTrust

    @property
    def repository(self) -> str | None:
        """The repository that the caller says this is, which the attestation then has to be for."""
        return repository_of(self.terms.resource)

    def write(self, report: Report, source: Source) -> tuple[list[str], int | None]:
        """Sign and write the summary; return what to say of it, and the exit code where that could not be done.

        The verdict is given out in any case: it may have taken hours.
        """
        from model_attest.summary import write_summary

        try:
            written = write_summary(
                report, self.terms, self.signer, self.path, found_manifest=_manifest(source), trust=self.trust
            )
        except AttestError as error:
            notes = [f"error: no summary was written: {error.message}"]
            return notes + ([f"hint: {error.hint}"] if error.hint else []), COULD_NOT_RUN
        until = f", until {written.expires}" if written.expires else ""
        result = "PASSED" if written.passed else "FAILED"
        return [f"note: {written.path} says {result}: {', '.join(written.words)}{until}"], None


def _manifest(source: Source) -> FileDigest | None:
    from model_verify.errors import SourceError
    from model_verify.summary.judging import manifest_digest

    try:
        return manifest_digest(source)
    except SourceError:
        return None
