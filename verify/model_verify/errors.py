"""The error tree: what stops a question from being answered.

A mismatch is a `Finding` (findings.py), never an exception. Every error has a `code` for programs, a message for people
and, where there is one, a `hint` that says what to do.

    AttestError
    ├── CallerError          the caller asked for something impossible
    │   ├── CommandFailed        a command that was wrapped has failed
    │   ├── KeyUnreadable        no usable key in a file
    │   ├── TrustConfigUnreadable  no Sigstore trust configuration in a file
    │   ├── CertificateUnreadable  no certificate, or no revocation list, in a file
    │   ├── RecipeInvalid        a recipe that cannot be run as written
    │   └── NotReproduced        a step to be recorded does not give what is there
    ├── SourceError          bytes could not be had
    │   ├── SourceMissing        no such file or folder
    │   ├── SourceChanged        a file changed while it was read
    │   ├── SourceUnreadable     the machine refused, or the file is not a regular one
    │   └── SourceUnreachable    the network, or a server, failed again and again
    ├── MalformedInput       bytes that break the standard; `rule` cites the clause
    │   ├── MalformedJson
    │   ├── MalformedWeights     a safetensors file
    │   ├── AmbiguousWeights     a folder that leaves open what loads
    │   └── MalformedDocument    a manifest, statement, bundle or step record; `code` is its reason code
    ├── OperationRefused     merge arithmetic that has no result; `code` is its reason code
    ├── SigningFailed        no signature could be had
    ├── HubMissing           the software that reads the Hub is not installed
    ├── SigstoreMissing      the software that verifies identities is not installed
    ├── TimestampsMissing    the software that verifies timestamps is not installed
    ├── BackendUnavailable   the software or device for merge arithmetic is missing or computes other bits
    └── OutputError          the result could not be written
"""


class AttestError(Exception):
    """An error with a code for programs, a message and a hint for people."""

    code = "ERROR"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class CallerError(AttestError):
    code = "CALLER_ERROR"


class KeyUnreadable(CallerError):
    code = "KEY_UNREADABLE"


class CommandFailed(CallerError):
    """A command that was run for the caller; `returncode` is its exit code, or minus the signal that ended it."""

    code = "COMMAND_FAILED"

    def __init__(self, message: str, *, returncode: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.returncode = returncode


class TrustConfigUnreadable(CallerError):
    code = "TRUST_CONFIG_UNREADABLE"


class CertificateUnreadable(CallerError):
    code = "CERTIFICATE_UNREADABLE"


class RecipeInvalid(CallerError):
    code = "RECIPE_INVALID"


class NotReproduced(CallerError):
    code = "NOT_REPRODUCED"


class SourceError(AttestError):
    code = "SOURCE_ERROR"


class SourceMissing(SourceError):
    code = "SOURCE_MISSING"


class SourceChanged(SourceError):
    code = "SOURCE_CHANGED"


class SourceUnreadable(SourceError):
    code = "SOURCE_UNREADABLE"


class SourceUnreachable(SourceError):
    code = "SOURCE_UNREACHABLE"


class MalformedInput(AttestError):
    """Bytes that break the standard. `where` names the place, `rule` the clause."""

    code = "MALFORMED_INPUT"

    def __init__(self, message: str, *, where: str = "", rule: str = "", hint: str | None = None) -> None:
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.reason = message
        self.where = where
        self.rule = rule


class MalformedJson(MalformedInput):
    code = "JSON_MALFORMED"


class MalformedWeights(MalformedInput):
    code = "WEIGHTS_MALFORMED"


class AmbiguousWeights(MalformedInput):
    code = "WEIGHTS_AMBIGUOUS"


class MalformedDocument(MalformedInput):
    """A document of the standard that breaks it; `code` is the reason code of verification §4."""

    def __init__(self, code: str, message: str, *, where: str = "", rule: str = "") -> None:
        super().__init__(message, where=where, rule=rule)
        self.code = code


class OperationRefused(AttestError):
    """Merge arithmetic without a result: `code` is a reason code of verification §4, `where` the tensor."""

    def __init__(self, code: str, message: str, *, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.code = code
        self.reason = message
        self.where = where


class SigningFailed(AttestError):
    code = "SIGNING_FAILED"


class HubMissing(AttestError):
    code = "NO_HUB"


class SigstoreMissing(AttestError):
    code = "NO_SIGSTORE"


class TimestampsMissing(AttestError):
    code = "NO_TIMESTAMPS"


class BackendUnavailable(AttestError):
    code = "NO_MERGE_BACKEND"


class OutputError(AttestError):
    code = "OUTPUT_ERROR"
