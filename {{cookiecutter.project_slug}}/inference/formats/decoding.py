"""What the decoders share: the bound on what a body may cost, and the faults that all of them know."""

import codecs
import contextlib
import json
import threading
from typing import Any

# A body makes up to forty times its size of objects before its faults are known. Larger ones than this
# are decoded one at a time: they hold the interpreter anyway, so that nobody waits longer.
LARGE_BYTES = 65_536
one_at_a_time = threading.Lock()
at_once = contextlib.nullcontext()


def turn(size: int) -> contextlib.AbstractContextManager[object]:
    """What to enter while ``size`` bytes are decoded."""
    return one_at_a_time if size > LARGE_BYTES else at_once


def too_many_rows(max_rows: int) -> str:
    """What is wrong with more rows than that, and what to do."""
    return f"more than {max_rows} rows: split them into several requests, or raise MAX_ROWS"


def skip_mark(body: bytes) -> bytes | None:
    """The JSON after a UTF-8 byte order mark, as .NET and PowerShell write it, or None without one."""
    mark = codecs.BOM_UTF8
    return body[len(mark) :] if body.startswith(mark) and not body.startswith(mark * 2) else None


class DuplicateKeyError(ValueError):
    """An object of JSON has a key twice: its argument."""


def check_keys(body: bytes) -> None:
    """Raise DuplicateKeyError for the first key that an object of a JSON text has twice.

    This takes several times as long as to decode it: only for where keys were seen to be too many. Raises
    ValueError where the text is not JSON, RecursionError where it is too deep.
    """
    # float: Python's int refuses thousands of digits.
    json.loads(body.decode(), object_pairs_hook=check_pairs, parse_int=float)


def check_pairs(pairs: list[tuple[str, Any]]) -> None:
    """Raise DuplicateKeyError where two of the pairs have the same key."""
    keys = set()
    for key, _ in pairs:
        if key in keys:
            raise DuplicateKeyError(key)
        keys.add(key)
