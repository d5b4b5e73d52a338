"""Say in one line what a wire model refused."""

from __future__ import annotations

import json

from pydantic import ValidationError


def first_problem(error: ValidationError) -> str:
    """Return the place and the reason of the first thing that a model refused, escaped and short."""
    details = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = "/".join(str(part) for part in details["loc"])
    return f"{json.dumps(place)[1:-1][:200] or 'document'}: {details['msg'][:200]}"
