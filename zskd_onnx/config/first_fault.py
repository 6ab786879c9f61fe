"""What is wrong with content from a file, in one line."""

from __future__ import annotations

from pydantic import ValidationError

LONGEST = 200
"""Characters of the longest text."""


def first_fault(error: Exception) -> str:
    """The text of an error in one line; of pydantic's, the first fault with its key."""
    text = str(error)
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False, include_input=False)[0]
        text = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    return " ".join(text.split())[:LONGEST]
