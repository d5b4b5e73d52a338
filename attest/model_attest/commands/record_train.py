"""`attest record train`: a training that is described in a file."""

from __future__ import annotations

from typing import Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import JsonFlag, folder_at, place
from model_attest.console import Answer


def record_train(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What is known of the training, in YAML or JSON.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The folder of the trained model.")],
    json: JsonFlag = False,
) -> Answer:
    """Record a training of any framework, described in a file.

    The file is the train step as a statement has it, with paths in place of digests: base, teachers, data and
    checkpoints are hashed. Where the weights in OUT cannot come from such a training, nothing is recorded.

    \b
    exit codes
      0  OUT has the step record
      2  could not record; then OUT is as it was before

    \b
    example
      attest record train training.yaml ./tuned
    """
    from model_attest.commands.arguments import weight_bytes
    from model_attest.commands.documents import members, recorded, recorded_lines
    from model_attest.record.training_file import record_training_file

    source = folder_at(out)
    with console.progress("hashing", lambda: weight_bytes([source])) as advance:
        result = record_training_file(place(file), place(out), progress=advance)
    answer = recorded(out, result.path, result.records)
    return Answer(recorded_lines(answer), members(answer))
