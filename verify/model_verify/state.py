"""What the procedure knows, from step to step. Spec: verification §3."""

from __future__ import annotations

import time

from model_verify.envelope import ExpectedSigner, SignatureCheck, SignedPayload
from model_verify.findings import Finding
from model_verify.folder import FolderCheck
from model_verify.history.check import History
from model_verify.hub_place import describe_place
from model_verify.judgement import Judgement
from model_verify.models import Manifest
from model_verify.oms import ModelSigCheck
from model_verify.pipeline import Pipeline
from model_verify.request import Request
from model_verify.sources.detached import DetachedSource
from model_verify.statement import Statement


class State:
    """What was asked for, and what was found so far; what no step has found yet is None, or empty."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.source = request.source
        self.trust = request.time_trust()
        if request.attestation is not None:
            self.source = DetachedSource(request.source, request.attestation)
        self.repository = request.repository or request.source.repository
        self.place = describe_place(request.source)
        self.findings: list[Finding] = []
        self.is_unattested = False
        self.signed: SignedPayload | None = None
        self.signature = SignatureCheck()
        self.accepted: ExpectedSigner | None = None
        self.statement: Statement | None = None
        self.history = History()
        self.manifest: Manifest | None = None
        self.signed_leaves: memoryview | None = None
        self.folder = FolderCheck()
        self.model_sig: ModelSigCheck | None = None
        self.pipeline = Pipeline((), (), ())
        self.judgement = Judgement()
        self.everything_ran = False
        self.started = time.monotonic()
