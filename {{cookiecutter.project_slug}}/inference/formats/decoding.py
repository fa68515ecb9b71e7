"""Shared code of the decoders: the limit on the cost of a body, and common errors."""

import codecs
import contextlib
import json
import threading
from typing import Any

# A body may decode to objects of up to forty times its size before its errors are found. Bodies larger than this
# are decoded one at a time; decoding holds the GIL anyway, so no request waits longer.
LARGE_BYTES = 65_536
one_at_a_time = threading.Lock()
at_once = contextlib.nullcontext()


def turn(size: int) -> contextlib.AbstractContextManager[object]:
    """Return the context manager to hold while decoding ``size`` bytes."""
    return one_at_a_time if size > LARGE_BYTES else at_once


def too_many_rows(max_rows: int) -> str:
    """Return the message for more rows than the limit, with a remedy."""
    return f"more than {max_rows} rows: split them into several requests, or raise MAX_ROWS"


def skip_mark(body: bytes) -> bytes | None:
    """Return the JSON after a UTF-8 byte order mark, which .NET and PowerShell write, or None without one."""
    mark = codecs.BOM_UTF8
    return body[len(mark) :] if body.startswith(mark) and not body.startswith(mark * 2) else None


class DuplicateKeyError(ValueError):
    """A JSON object has a duplicate key, the argument of this error."""


def check_keys(body: bytes) -> None:
    """Raise DuplicateKeyError for the first duplicate key in an object of a JSON text.

    This takes several times as long as decoding, so call it only if there seem to be too many keys. Raises
    ValueError if the text is not JSON, and RecursionError if it is nested too deeply.
    """
    # parse_int=float, since Python's int() rejects thousands of digits.
    json.loads(body.decode(), object_pairs_hook=check_pairs, parse_int=float)


def check_pairs(pairs: list[tuple[str, Any]]) -> None:
    """Raise DuplicateKeyError if two of the pairs have the same key."""
    keys = set()
    for key, _ in pairs:
        if key in keys:
            raise DuplicateKeyError(key)
        keys.add(key)
