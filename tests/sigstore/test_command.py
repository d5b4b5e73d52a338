"""`attest sign` and `attest verify` as an identity: a token from a file, from a CI job, and from a browser."""

from __future__ import annotations

import gc
import json
import sys
import threading
import webbrowser
from pathlib import Path

import pytest
import requests

from model_verify.models import BUNDLE_PATH
from tests.cli.conftest import Attest
from tests.cli.conftest import attest as attest  # the fixture
from tests.models import small_tensors, write_model
from tests.sigstore.instance import Sigstore
from tests.sigstore.issuer import CI_IDENTITY, GITHUB
from tests.sigstore.signing import trust


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", small_tensors(0))


@pytest.fixture
def config(tmp_path: Path, sigstore: Sigstore) -> Path:
    path = tmp_path / "trust.json"
    path.write_bytes(trust(sigstore))
    return path


@pytest.fixture
def token(tmp_path: Path, sigstore: Sigstore) -> Path:
    path = tmp_path / "token"
    path.write_text(sigstore.issuer.ci_token() + "\n")
    return path


@pytest.fixture
def in_ci(monkeypatch: pytest.MonkeyPatch, sigstore: Sigstore) -> None:
    """The environment of a job on GitHub that may ask for a token."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "secret")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{sigstore.url}/ci-token?api-version=2.0")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No CI that these tests may run in gives its own identity away."""
    for name in (
        "GITHUB_ACTIONS",
        "GITLAB_CI",
        "CIRCLECI",
        "BUILDKITE",
        "GOOGLE_SERVICE_ACCOUNT_NAME",
        "SIGSTORE_ID_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)


CI = ["--identity", CI_IDENTITY, "--issuer", GITHUB]


def test_a_token_from_a_file_signs_and_whoever_expects_its_identity_verifies(
    attest: Attest, model: Path, config: Path, token: Path
) -> None:
    signed = attest("sign", model, "--identity-token", token, "--trust-config", config)
    assert signed.code == 0, signed.err
    assert f"  signer    {CI_IDENTITY} by {GITHUB}\n" in signed.out
    assert f"{' '.join(CI)} --trust-config {config}`" in signed.out.splitlines()[-1]
    verified = attest("verify", model, *CI, "--trust-config", config)
    assert verified.code == 0
    assert f"  ok    signature  {CI_IDENTITY} by {GITHUB}, the one you named\n" in verified.out
    assert "  ok    time       signed before 2" in verified.out


JOB = ["--issuer", GITHUB, "--source-repository", "https://github.com/town/model"]


def test_whoever_expects_a_job_of_a_repository_need_not_know_its_tag(
    attest: Attest, model: Path, config: Path, token: Path
) -> None:
    assert attest("sign", model, "--identity-token", token, "--trust-config", config).code == 0
    trusted = ["--trust-config", config]
    workflow = ["--workflow", ".github/workflows/release.yml", "--source-ref", "refs/tags/*"]
    verified = attest("verify", model, *JOB, *workflow, *trusted)
    assert verified.code == 0, verified.out
    assert f"  ok    signature  {CI_IDENTITY} by {GITHUB}, the one you named\n" in verified.out
    refused = attest("verify", model, *JOB, "--source-ref", "refs/heads/*", *trusted, "--json")
    (finding,) = refused.document["findings"]
    assert (refused.code, finding["code"]) == (1, "IDENTITY_MISMATCH")
    assert finding["actual"].endswith("a job of https://github.com/town/model for refs/tags/v1.0")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--source-repository", "https://github.com/town/model"], "`--source-repository` without `--issuer`"),
        (["--issuer", GITHUB, "--workflow", "x.yml"], "`--issuer` without `--identity` or `--source-repository`"),
        ([*JOB, "--source-ref", "refs/*/v1"], "has a `*` inside"),
        ([*JOB, "--source-ref", ""], "`--source-ref` is empty"),
        ([*JOB, "--identity", CI_IDENTITY], "`--identity` and `--source-repository`"),
        (["--identity", CI_IDENTITY, "--issuer", GITHUB, "--workflow", "x"], "`--identity` and `--workflow`"),
    ],
)
def test_half_a_job_is_refused(attest: Attest, model: Path, options: list[str], said: str) -> None:
    run = attest("verify", model, *options)
    assert (run.code, said in run.err) == (2, True), run.err


def test_a_policy_accepts_a_job(attest: Attest, model: Path, config: Path, token: Path, tmp_path: Path) -> None:
    assert attest("sign", model, "--identity-token", token, "--trust-config", config).code == 0
    policy = tmp_path / "policy.toml"

    def written(ref: str) -> Path:
        policy.write_text(
            'schema = "https://model-attest.github.io/policy/v1"\n[[signers.jobs]]\n'
            f'issuer = "{GITHUB}"\nrepository = "https://github.com/town/model"\nref = "{ref}"\n'
            f'trust-config = "{config}"\n'
        )
        return policy

    assert attest("verify", model, "--policy", written("refs/tags/*")).code == 0
    named = [*CI, "--trust-config", config]
    assert attest("verify", model, *named, "--policy", written("refs/tags/*")).code == 0
    for options in ([], named):
        refused = attest("verify", model, *options, "--policy", written("refs/heads/*"), "--json")
        assert (refused.code, [one["code"] for one in refused.document["findings"]]) == (1, ["POLICY_SIGNER"])


def test_the_answers_name_signer_and_time(attest: Attest, model: Path, config: Path, token: Path) -> None:
    signed = attest("sign", model, "--identity-token", token, "--trust-config", config, "--json").document
    verified = attest("verify", model, *CI, "--trust-config", config, "--json").document
    assert signed["signer"] == verified["signer"]
    assert signed["signer"] == {
        "kind": "sigstore", "key_hint": None, "algorithm": None,
        "identity": CI_IDENTITY, "issuer": GITHUB, "expected": True,
    }  # fmt: skip
    assert signed["time"] == verified["time"]


def test_a_ci_job_signs_as_itself(attest: Attest, model: Path, config: Path, in_ci: None) -> None:
    assert attest("sign", model, "--trust-config", config).code == 0
    assert attest("verify", model, *CI, "--trust-config", config).code == 0


def test_a_ci_job_that_may_not_ask_for_a_token_is_told_so(
    attest: Attest, model: Path, config: Path, in_ci: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    run = attest("sign", model, "--trust-config", config, "--json")
    assert (run.code, run.error["code"]) == (2, "SIGNING_FAILED")
    assert "permissions" in run.error["message"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_person_signs_in_a_browser(
    attest: Attest, model: Path, config: Path, sigstore: Sigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def browse(url: str) -> bool:
        threading.Thread(target=requests.get, args=(url,), kwargs={"timeout": 10}, daemon=True).start()
        return True

    monkeypatch.setattr(webbrowser, "open", browse)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    signed = attest("sign", model, "--trust-config", config)
    assert signed.code == 0, signed.err
    assert signed.err.startswith("note: whom you name in the browser goes into a log")
    person = ["--identity", sigstore.issuer.person, "--issuer", sigstore.issuer.url]
    assert attest("verify", model, *person, "--trust-config", config).code == 0
    gc.collect()  # the client leaves the socket that the browser came back to, and is not to fail another test for it


def test_with_nobody_to_ask_nothing_is_read(attest: Attest, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    run = attest("sign", model)
    assert run.code == 2
    assert run.err.startswith("error: nobody to sign as")
    assert "--key" in run.err
    assert not (model / "attestation").exists()


@pytest.mark.parametrize("text", ["", "not.a.token", "a" * 70_000])
def test_what_is_no_token_is_refused_before_the_weights_are_read(
    attest: Attest, model: Path, config: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "bad").write_text(text)
    (model / "model.safetensors").unlink()
    run = attest("sign", model, "--identity-token", tmp_path / "bad", "--trust-config", config)
    assert (run.code, "token" in run.err or "empty" in run.err) == (2, True)


def test_a_token_that_has_expired_is_refused(
    attest: Attest, model: Path, config: Path, tmp_path: Path, sigstore: Sigstore
) -> None:
    (tmp_path / "old").write_text(sigstore.issuer.token("somebody", iat=1_700_000_000, exp=1_700_000_600))
    run = attest("sign", model, "--identity-token", tmp_path / "old", "--trust-config", config, "--json")
    assert (run.code, run.error["code"]) == (2, "SIGNING_FAILED")


def test_an_authority_that_refuses_leaves_the_folder_as_it_was(
    attest: Attest, model: Path, config: Path, tmp_path: Path, stranger: Sigstore
) -> None:
    (tmp_path / "other").write_text(stranger.issuer.ci_token())
    run = attest("sign", model, "--identity-token", tmp_path / "other", "--trust-config", config, "--json")
    assert (run.code, run.error["code"]) == (2, "SIGNING_FAILED")
    assert run.error["message"].startswith("could not sign: ")
    assert sorted(path.name for path in model.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_an_instance_that_cannot_be_reached_is_said(
    attest: Attest, model: Path, config: Path, tmp_path: Path, token: Path, sigstore: Sigstore
) -> None:
    document = sigstore.trust_config()
    document["signingConfig"]["caUrls"][0]["url"] = "http://127.0.0.1:9"
    config.write_text(json.dumps(document))
    run = attest("sign", model, "--identity-token", token, "--trust-config", config, "--json")
    assert (run.code, run.error["code"]) == (2, "SIGNING_FAILED")


def test_without_a_signer_the_options_that_would_take_it_are_printed(
    attest: Attest, model: Path, config: Path, token: Path
) -> None:
    attest("sign", model, "--identity-token", token, "--trust-config", config)
    run = attest("verify", model)
    assert run.code == 3
    assert f"the bundle names {CI_IDENTITY} by {GITHUB}" in run.out
    assert f"hint: pass `--identity {CI_IDENTITY} --issuer {GITHUB}` if that is whom you expect" in run.out


def test_another_signer_is_named_with_the_options_that_would_take_it(
    attest: Attest, model: Path, config: Path, token: Path
) -> None:
    attest("sign", model, "--identity-token", token, "--trust-config", config)
    run = attest("verify", model, "--identity", "somebody", "--issuer", GITHUB, "--trust-config", config)
    assert run.code == 1
    assert "another than the expected identity signed this" in run.out.splitlines()[0]
    assert f"`--identity {CI_IDENTITY} --issuer {GITHUB}` would take it" in run.out


def test_a_private_instance_has_to_be_named(attest: Attest, model: Path, config: Path, token: Path) -> None:
    attest("sign", model, "--identity-token", token, "--trust-config", config)
    run = attest("verify", model, *CI)
    assert run.code == 1
    assert "hint: signed with a private Sigstore, it needs that one's `--trust-config FILE`" in run.out


def test_inspect_shows_whom_the_certificate_names_and_says_that_nothing_is_verified(
    attest: Attest, model: Path, config: Path, token: Path
) -> None:
    attest("sign", model, "--identity-token", token, "--trust-config", config)
    run = attest("inspect", model)
    assert run.code == 0
    assert run.out.startswith("CLAIMED ONLY")
    assert f"  signer    has a certificate for {CI_IDENTITY} by {GITHUB}, entry " in run.out
    assert f"--identity {CI_IDENTITY} --issuer {GITHUB}`" in run.out.splitlines()[-1]
    document = attest("inspect", model, "--json").document
    named = (document["signer_hint"], document["signer_identity"], document["signer_issuer"])
    assert named == (None, CI_IDENTITY, GITHUB)


def test_a_trust_configuration_out_of_the_folder_is_warned_of(
    attest: Attest, model: Path, config: Path, token: Path
) -> None:
    attest("sign", model, "--identity-token", token, "--trust-config", config)
    inside = model / "trust.json"
    inside.write_bytes(config.read_bytes())
    run = attest("verify", model, *CI, "--trust-config", inside)
    assert run.err.startswith("warning: the trust configuration comes from the folder that it is to vouch for")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--identity", "x"], "`--identity` without `--issuer`"),
        (["--identity", ""], "`--identity` is empty"),
        (["--issuer", "x"], "`--issuer` without `--identity`"),
        (["--trust-config", "x"], "`--trust-config` without `--identity`"),
        (["--key", "x", "--identity", "x", "--issuer", "x"], "a key and an identity"),
        (["--identity", "x", "--issuer", "x", "--trust-config", "gone"], "gone: No such file or directory"),
    ],
)
def test_half_an_identity_is_refused(attest: Attest, model: Path, options: list[str], says: str) -> None:
    run = attest("verify", model, *options)
    assert run.code == 2
    assert run.err.startswith(f"error: {says}")


@pytest.mark.parametrize(
    "options",
    [
        ["--key", "x", "--identity-token", "x"],
        ["--key", "x", "--trust-config", "x"],
        ["--password-file", "x"],
    ],
)
def test_two_ways_to_sign_are_refused(attest: Attest, model: Path, options: list[str]) -> None:
    run = attest("sign", model, *options, "--json")
    assert (run.code, run.error["code"]) == (2, "CALLER_ERROR")


def test_the_bundle_is_canonical_and_the_client_reads_it(
    attest: Attest, model: Path, config: Path, token: Path
) -> None:
    import rfc8785
    from sigstore.models import Bundle

    attest("sign", model, "--identity-token", token, "--trust-config", config)
    data = (model / BUNDLE_PATH).read_bytes()
    assert rfc8785.dumps(json.loads(data)) == data
    assert json.loads(Bundle.from_json(data).to_json()) == json.loads(data)
