"""Whether weights can be what a declared training gave: what a verifier would find is said before it is signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from model_attest.diff import Tensor
from model_verify.errors import CallerError
from model_verify.tensors import described

_HINT = "save the model as it is before the training (`save_pretrained`), and name that folder as the base"


def check_output(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], trainable: Literal["all", "adapter"] | Sequence[str]
) -> None:
    """Raise `CallerError` where a verifier would find that `after` is not from such a training of `before`.

    Spec: pipeline §4.1, §4.3, §4.6.
    """
    if trainable == "adapter":
        if shared := sorted(before.keys() & after.keys()):
            raise CallerError(f"tensor `{shared[0]}` is in the adapter and in what it was trained on")
        return
    for name in sorted(before.keys() | after.keys()):
        was, becomes = before.get(name), after.get(name)
        if was is None or becomes is None or was.info != becomes.info:
            kinds = [described(None if tensor is None else tensor.info) for tensor in (was, becomes)]
            raise CallerError(f"a training changes values alone: `{name}` was {kinds[0]} and is {kinds[1]}", hint=_HINT)
    allowed = set(after) if trainable == "all" else set(trainable)
    if unknown := sorted(allowed - after.keys()):
        raise CallerError(f"`{unknown[0]}` is called trainable, and there is no such tensor")
    changed = {name for name in after if before[name].root != after[name].root}
    if others := sorted(changed - allowed):
        raise CallerError(f"`{others[0]}` has changed and is not called trainable")
    if not changed:
        raise CallerError("the training has changed nothing: these are the weights that it began with")
