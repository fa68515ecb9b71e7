"""Exit with 0 if two JSON texts are equal; the last digits of numbers may differ between processors."""

import json
import math
import sys


def same(one: object, other: object) -> bool:
    """Whether two parsed JSON values are equal, numbers to four digits."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)
    return one == other


try:
    sys.exit(not same(*map(json.loads, sys.argv[1:])))
except ValueError:
    sys.exit(1)
