"""Files by a path or an ``s3://`` URL."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from inference.errors import StartupError, first_line

S3 = "s3://"


class AsFile:
    """An obstore reader or writer of ``place`` as a Python file: it reads bytes, and ``closed`` is an attribute.

    It never closes by itself, since a partly written object must not appear.
    """

    closed = False

    def __init__(self, opened: Any, place: str) -> None:
        self._opened = opened
        self._place = place

    def read(self, size: int | None = None) -> bytes:
        """Read as bytes, since obstore's own type lacks most of their methods; raises StartupError if that fails."""
        with as_startup_error(f"Could not read {self._place}"):
            return bytes(self._opened.read(size))

    def __getattr__(self, name: str) -> Any:
        """Delegate all other attributes."""
        return getattr(self._opened, name)


def is_remote(place: str) -> bool:
    """Whether a place is in S3."""
    return place.startswith(S3)


def suffix_of(place: str) -> str:
    """Return the lower-case suffix of a file's name, like ``.csv``."""
    return Path(place).suffix.lower()


def store_of(place: str) -> tuple[Any, str]:
    """Return the store and the key of an ``s3://`` URL.

    Credentials and region come from the task, or from the environment variables that the AWS CLI reads.
    """
    from obstore.store import S3Store

    bucket, _, key = place.removeprefix(S3).partition("/")
    if not bucket or not key:
        raise StartupError(f"{place} is not s3://BUCKET/KEY")
    return S3Store(bucket), key


def list_files(folder: str, endings: Collection[str]) -> list[str]:
    """List the files below a folder, which ends with ``/``; oldest first, so that a late file does not shift others.

    Empty S3 objects without one of the endings are skipped: the S3 console creates folders that way. Raises
    StartupError if the folder cannot be listed.
    """
    if is_remote(folder):
        import obstore

        with as_startup_error(f"Could not list {folder}"):
            store, prefix = store_of(folder)
            found = [
                (about["last_modified"].timestamp(), about["path"].removeprefix(prefix))
                for some in obstore.list(store, prefix)
                for about in some
                if about["size"] or suffix_of(about["path"]) in endings
            ]
    else:
        try:
            found = [
                (path.stat().st_mtime, path.relative_to(folder).as_posix())
                for path in Path(folder).rglob("*")
                if path.is_file()
            ]
        except OSError as error:
            raise StartupError(f"Could not list {folder}: {error.strerror}") from error
    return [name for _, name in sorted(found)]


@contextmanager
def reading(place: str) -> Iterator[tuple[BinaryIO, str]]:
    """Open a file for reading; yield it with an identity, which changes with its content.

    Raises StartupError if it cannot be read.
    """
    if is_remote(place):
        import obstore

        with as_startup_error(f"Could not read {place}"):
            store, key = store_of(place)
            about = obstore.head(store, key)
            remote: Any = AsFile(obstore.open_reader(store, key), place)
        yield remote, f"{about['size']} {about['e_tag']}"
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(place).open("rb"))
            stat = Path(place).stat()
        except OSError as error:
            raise StartupError(f"Could not read {place}: {error.strerror}") from error
        yield file, f"{stat.st_size} {stat.st_mtime_ns}"


def exists(place: str) -> bool:
    """Whether a file exists; raises StartupError if S3 does not say."""
    if not is_remote(place):
        return Path(place).exists()
    import obstore

    with as_startup_error(f"Could not look for {place}"):
        store, key = store_of(place)
        try:
            obstore.head(store, key)
        except FileNotFoundError:
            return False
    return True


def publish(path: Path, place: str) -> None:
    """Move a finished file to its place atomically; raises StartupError if that fails."""
    if is_remote(place):
        import obstore

        with as_startup_error(f"Could not write {place}"):
            store, key = store_of(place)
            obstore.put(store, key, path)
        path.unlink()
        return
    # The file was created in the same folder, so this is a rename.
    path.replace(place)


@contextmanager
def as_startup_error(what: str) -> Iterator[None]:
    """Turn errors of S3 into StartupError; a transfer that breaks off is an OSError."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError) as error:
        raise StartupError(f"{what}: {first_line(error)}") from error
