"""`attest verify`: the whole procedure on a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import (
    Device,
    DeviceOption,
    JsonFlag,
    ThreadsOption,
    TrustConfigOption,
    moment,
    named_paths,
    place,
    read_public_key,
    weight_bytes,
)
from model_attest.commands.references import (
    BandwidthOption,
    DepthName,
    DepthOption,
    FetchParentsFlag,
    Models,
    depth_of,
    local_roots,
    model_here,
)
from model_attest.commands.summary_writing import (
    SummaryCertificateOption,
    SummaryCertificateRootOption,
    SummaryExpiresOption,
    SummaryKeyOption,
    SummaryKmsOption,
    SummaryOption,
    SummaryOptions,
    SummaryPasswordOption,
    SummaryPolicyUriOption,
    SummaryResourceOption,
    SummaryTimestampUrlOption,
    SummaryTokenOption,
    SummaryTrustConfigOption,
    SummaryVerifierOption,
)
from model_attest.commands.trust import (
    CertificateRootOption,
    CrlOption,
    IssuerOption,
    SourceRefOption,
    TsaOption,
    WorkflowOption,
    any_expected_signer,
    read_authorities,
)
from model_attest.console import Answer
from model_verify.errors import CallerError

if TYPE_CHECKING:
    pass

INCOMPLETE = 3
MOST_NOTES = 3


def verify(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="REF",
            help="The model: a folder, or `org/model@revision` of the Hub.",
            show_default="the folder that you are in",
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="PUB", help="The public key that you expect to have signed, PEM.")
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option("--identity", metavar="NAME", help="Who you expect to have signed, where no key is named."),
    ] = None,
    issuer: IssuerOption = None,
    source_repository: Annotated[
        str | None,
        typer.Option("--source-repository", metavar="URL", help="Whose CI job you expect, in place of an identity."),
    ] = None,
    workflow: WorkflowOption = None,
    source_ref: SourceRefOption = None,
    trust_config: TrustConfigOption = None,
    certificate_root: CertificateRootOption = None,
    crl: CrlOption = None,
    tsa: TsaOption = None,
    attestation: Annotated[
        str | None,
        typer.Option(
            "--attestation", metavar="FILE|DIR", help="An attestation outside of DIR, in the place of its own."
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="FILE", help="Whom and what you trust, TOML; its signers stand for `--key`."),
    ] = None,
    parent: Annotated[
        list[str] | None, typer.Option("--parent", metavar="ID=REF", help="Where the parent ID lies; repeatable.")
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Verify the parents' own attestations too, and print the lineage.")
    ] = False,
    parent_key: Annotated[
        list[str] | None,
        typer.Option(
            "--parent-key", metavar="ID=PUB", help="The key that you expect to have signed the parent ID; repeatable."
        ),
    ] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option("--candidate", metavar="REF", help="A model to hold declared training against; repeatable."),
    ] = None,
    revocations: Annotated[
        str | None,
        typer.Option("--revocations", metavar="PATH", help="What you know to be revoked: a file, or a folder of them."),
    ] = None,
    depth: DepthOption = DepthName.full,
    fetch_parents: FetchParentsFlag = False,
    max_bandwidth: BandwidthOption = None,
    observation: Annotated[
        list[str] | None,
        typer.Option("--observation", metavar="PATH", help="What an observer saw of a parent; repeatable."),
    ] = None,
    observer_key: Annotated[
        list[str] | None,
        typer.Option("--observer-key", metavar="PUB", help="An observer whose word you take; repeatable."),
    ] = None,
    published: Annotated[
        str | None,
        typer.Option(
            "--published",
            metavar="TIME",
            help="When it was published, as 2026-07-01T12:00:00Z; else by the Hub's word.",
        ),
    ] = None,
    device: DeviceOption = Device.auto,
    require_level: Annotated[
        int | None,
        typer.Option("--require-level", min=1, max=3, help="A lower level than this is exit code 3."),
    ] = None,
    summary: SummaryOption = None,
    summary_verifier: SummaryVerifierOption = None,
    summary_resource: SummaryResourceOption = None,
    summary_key: SummaryKeyOption = None,
    summary_kms: SummaryKmsOption = None,
    summary_certificate: SummaryCertificateOption = None,
    summary_certificate_root: SummaryCertificateRootOption = None,
    summary_password_file: SummaryPasswordOption = None,
    summary_identity_token: SummaryTokenOption = None,
    summary_trust_config: SummaryTrustConfigOption = None,
    summary_timestamp_url: SummaryTimestampUrlOption = None,
    summary_expires: SummaryExpiresOption = None,
    summary_policy_uri: SummaryPolicyUriOption = None,
    threads: ThreadsOption = None,
    json: JsonFlag = False,
) -> Answer:
    """Check a model, in a folder or on the Hub, against its attestation.

    That is the signature, every file, every tensor, and every declared step. Merges are replayed from their parents and
    compared bit for bit. Level 1: every byte is as your signer signed it. Level 2: and every parent is the declared
    one. Level 3: and every step was reproduced.

    A model on the Hub is streamed at one commit and stored nowhere; so are its parents, from where the statement says
    that they are. For a model in a folder that takes `--fetch-parents`.

    A parent is a material of the statement, or a step whose output was not published and which you have. With
    `--recursive`, `--parent a/x=DIR` is the parent x of the parent a.

    With `--summary`, whoever verifies passes the result on: a SLSA verification summary, signed, which others check
    with `attest verify-summary` in place of doing all this again.

    \b
    exit codes
      0  VERIFIED: nothing failed, and everything that can be checked was
      1  REJECTED: something is not as signed or stated
      2  could not run: there is no verdict, or no summary of it could be written
      3  INCOMPLETE: nothing failed, but something was not checked; or
         VERIFIED below the level that `--require-level` asks for

    \b
    example
      attest verify ./merged --key lab.pub --parent a=./a --parent b=./b
      attest verify ./merged --identity release@lab.example --issuer https://accounts.google.com
      attest verify ./merged --source-repository https://github.com/town/model --source-ref 'refs/tags/*' \
        --issuer https://token.actions.githubusercontent.com
      attest verify town/merged@main --key lab.pub
      git clone https://huggingface.co/town/merged && cd merged && attest verify --key ../lab.pub
      attest verify ./merged --policy procurement.toml --parent a=./a --parent b=./b
    """
    from model_attest.commands.report_text import report_lines
    from model_verify.envelope import TimeTrust
    from model_verify.history.folder import load_revocations
    from model_verify.observation import load_observation
    from model_verify.policy import load_policy
    from model_verify.procedure import Request
    from model_verify.procedure import verify as run_procedure
    from model_verify.sources.detached import DetachedAttestation, DetachedSource

    models = Models(max_bandwidth=max_bandwidth)
    source = model_here() if model is None else models.at(model)
    expected_signer = any_expected_signer(
        key=key,
        identity=identity,
        issuer=issuer,
        trust_config=trust_config,
        repository=source_repository,
        workflow=workflow,
        ref=source_ref,
        certificate_root=certificate_root,
        crls=crl,
    )
    authorities = read_authorities(tsa)
    outside = None if attestation is None else DetachedAttestation(place(attestation))
    rules = None if policy is None else load_policy(place(policy))
    observations = [load_observation(place(text)) for text in observation or []]
    observers = [read_public_key(path) for path in observer_key or []]
    if observations and not observers and (rules is None or not rules.observers):
        raise CallerError("`--observation`, and no observer is named", hint="`--observer-key PUB`, or a policy's")
    time_of_publication = None if published is None else moment("--published", published)
    revoked = [] if revocations is None else load_revocations(place(revocations))
    parents = models.named("--parent", parent or [])
    parent_signers = {name: read_public_key(path) for name, path in named_paths("--parent-key", parent_key or [])}
    if parent_signers and not recursive:
        raise CallerError(
            "`--parent-key` without `--recursive`", hint="`--recursive` follows the parents' attestations"
        )
    candidates = [models.at(text) for text in candidate or []]
    trusted = [("key", key), ("trust configuration", trust_config)]
    trusted += [("certificate root", certificate_root)]
    trusted += [("revocation list", path) for path in crl or []]
    trusted += [("timestamping authority", path) for path in tsa or []]
    trusted += [("policy", str(path)) for path in (rules.files if rules else ())]
    notes = [note for what, path in trusted for note in trust_notes(what, path, local_roots([source]))][:MOST_NOTES]
    asked = SummaryOptions(
        out=summary,
        verifier=summary_verifier,
        resource=summary_resource,
        key=summary_key,
        kms=summary_kms,
        certificate=summary_certificate,
        certificate_root=summary_certificate_root,
        password_file=summary_password_file,
        identity_token=summary_identity_token,
        trust_config=summary_trust_config,
        timestamp_url=summary_timestamp_url,
        expires_days=summary_expires,
        policy_uri=summary_policy_uri,
    )
    plan = asked.plan(source, rules, required_level=require_level, trust=TimeTrust(authorities))
    sources = [source, *parents.values(), *candidates]
    with console.progress("reading", lambda: weight_bytes(sources)) as advance:
        report = run_procedure(
            Request(
                source=source,
                expected_signer=expected_signer,
                policy=rules,
                repository=None if plan is None else plan.repository,
                now=None if plan is None else plan.terms.verified_at,
                timestamp_authorities=authorities,
                attestation=outside,
                depth=depth_of(depth, source),
                parents=parents,
                fetch=models.fetcher() if fetch_parents or source.hub is not None else None,
                candidates=candidates,
                recursive=recursive,
                parent_signers=parent_signers,
                revocations=revoked,
                published=time_of_publication,
                observations=observations,
                observers=observers,
                device=device.value,
                threads=threads,
                progress=advance,
            )
        )
    below = require_level is not None and report.verdict == "VERIFIED" and (report.level or 0) < require_level
    lines = report_lines(report, required_level=require_level if below else None)
    if below:
        notes.append(f"level {require_level} is required, this is level {report.level}: exit code {INCOMPLETE}")
    exit_code = INCOMPLETE if below else report.exit_code
    if plan is not None:
        said, failed = plan.write(report, source if outside is None else DetachedSource(source, outside))
        notes += said
        exit_code = exit_code if failed is None else failed
    return Answer(lines, report.model_dump(mode="json", by_alias=True), exit_code, notes)


def trust_notes(what: str, path: str | None, roots: Sequence[Path]) -> list[str]:
    """Say so where the trust comes out of a folder that is to be checked."""
    if path is not None and any(Path(path).resolve().is_relative_to(root) for root in roots):
        return [
            f"warning: the {what} comes from the folder that it is to vouch for: get it from whom you expect to sign"
        ]
    return []
