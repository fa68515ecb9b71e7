"""Sample rows from a file, to describe a model and compare it with its framework."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_string_dtype

from inference.errors import first_line
from training.dataset import UnfitError

NAME_THEM = "name them with NAMES=a,b,c, or give rows with a header line with SAMPLE=rows.csv."
KINDS = ".csv, .json, .npz or .npy"
MADE_UP_ROWS = 100


def read(path: Path) -> Any:
    """Read a CSV file with a header, a JSON file or a NumPy file, as a DataFrame, an array or a dict of arrays.

    JSON may have the format of ``/predict``, be a list of rows or objects, or a DataFrame written by pandas with
    ``orient="split"``. Raises UnfitError if the file is none of these.
    """
    readers = {".csv": pd.read_csv, ".json": read_json, ".npz": read_npz, ".npy": np.load}
    if path.suffix not in readers:
        raise UnfitError(f"SAMPLE must be a {KINDS} file, {path} is not.")
    try:
        rows = readers[path.suffix](path)
    except OSError as error:
        raise UnfitError(f"Could not read SAMPLE: {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, LookupError) as error:
        fault = first_line(error) if type(error) is not KeyError else f"an instance lacks {error}"
        if "inhomogeneous" in fault:
            fault = "its lists differ in length: pad them"
        raise UnfitError(f"Could not read SAMPLE: {path}: {fault}") from error
    if not len(next(iter(rows.values()), ()) if isinstance(rows, dict) else rows):
        raise UnfitError(f"Could not read SAMPLE: {path}: it has no rows.")
    names = np.asarray(pd.to_numeric(getattr(rows, "columns", ["x"]), errors="coerce"), float)
    # Consecutive numbers are names, of pixels or years.
    if not np.isnan(names).any() and ((names % 1).any() or (np.diff(names) != 1).any()):
        raise UnfitError(f"{path} has no first line with the names of its columns: add one.")
    return rows


def read_json(path: Path) -> Any:
    """Read the rows of a JSON file."""
    # Not with msgspec: pandas writes NaN, which is not valid JSON.
    return from_json(json.loads(path.read_bytes()))


def from_json(content: Any) -> Any:
    """Return the rows in decoded JSON."""
    if isinstance(content, dict):
        for name in ("instances", "inputs", "dataframe_split", "dataframe_records"):
            if name in content:
                return from_json(content[name])
        if content.keys() >= {"columns", "data"}:
            return pd.DataFrame(content["data"], columns=content["columns"])
        return {name: np.array(values) for name, values in content.items()}
    if content and isinstance(content[0], dict):
        if any(isinstance(value, list) for value in content[0].values()):
            return {name: np.array([each[name] for each in content]) for name in content[0]}
        return pd.DataFrame(content)
    rows = np.array(content)
    return pd.DataFrame(content) if rows.dtype.kind not in "biuf" and rows.ndim < 3 else rows


def read_npz(path: Path) -> Any:
    """Read the arrays of an .npz file."""
    with np.load(path) as arrays:
        return dict(arrays)


def take_target(rows: Any, target: str, source: str) -> tuple[Any, Any]:
    """Return the rows without the target column, and that column; raises UnfitError if it is missing."""
    if isinstance(rows, pd.DataFrame) and target in rows.columns:
        return rows.drop(columns=target), rows[target]
    if isinstance(rows, dict) and target in rows:
        return {name: array for name, array in rows.items() if name != target}, rows[target]
    raise UnfitError(f"The {source} have no {target!r}, which TARGET names.")


def choose_columns(rows: Any, names: Sequence[str], source: str) -> Any:
    """Return the named columns of a DataFrame; raises UnfitError if any is missing."""
    if not isinstance(rows, pd.DataFrame) or not names:
        return rows
    missing = [name for name in names if name not in rows.columns]
    if not missing:
        return rows[list(names)]
    if len(missing) == len(names) == rows.shape[1]:
        return rows.set_axis(list(names), axis=1)
    raise UnfitError(
        f"The {source} have no column {missing[0]!r}, which the model takes: they have "
        f"{', '.join(map(str, rows.columns))}."
    )


def texts_with_gaps(rows: pd.DataFrame) -> list[Any]:
    """Return the names of the columns of text with missing values."""
    gaps = rows.columns[rows.isna().any() & rows.notna().any()]
    return [name for name in gaps if is_string_dtype(rows[name].dropna())]


def make_up_columns(names: Sequence[str], kinds: Sequence[str]) -> pd.DataFrame:
    """Generate rows of numbers around 0, for columns of numbers, whole numbers and booleans."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {}
    for name, kind in zip(names, kinds, strict=True):
        numbers = random.normal(scale=2, size=MADE_UP_ROWS).round(2)
        columns[name] = {"integer": numbers.astype(int) ** 2, "boolean": numbers > 0}.get(
            kind, numbers
        )
    return pd.DataFrame(columns)


def make_up_tensor(shape: Sequence[int], dtype: np.dtype[Any]) -> Any:
    """Generate instances of floats between 0 and 1, or of zeros and ones for other dtypes."""
    numbers = np.random.default_rng(0).random(size=(MADE_UP_ROWS, *shape))
    return numbers.astype(dtype) if dtype.kind == "f" else (numbers > 0.5).astype(dtype)
