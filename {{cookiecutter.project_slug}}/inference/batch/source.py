"""Input files in blocks of whole rows: CSV, JSON lines and Parquet."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from inference.errors import StartupError

# Size of a block, which a process scores at a time.
BLOCK_BYTES = 2**20
BLOCK_ROWS = 10_000
# A heading must end within this many bytes.
HEADING_BYTES = 2**20
# Limit for the size of a row.
MOST_BYTES = 2**26
MARK = b"\xef\xbb\xbf"
NEEDS_PYARROW = (
    "Parquet needs pyarrow: `make setup` installs it here; for the image add it to "
    "requirements/serve.in and run `make lock`, then `make setup`"
)


class Block(NamedTuple):
    """A block of rows; ``end`` is the position of the next block, in bytes, or in rows for a Parquet file."""

    content: bytes
    rows: int
    end: int


class Form(NamedTuple):
    """The formats of input (``kind``) and output (``out``), as suffixes.

    ``heading`` is the first record of CSV, or the names of a Parquet file's columns.
    """

    kind: str
    heading: tuple[str, ...]
    out: str


class Csv:
    """CSV records (RFC 4180) in UTF-8; ``heading`` is the first record, which may name the columns."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.end = size_of(file)
        start = file.read(HEADING_BYTES)
        skipped = len(MARK) if start.startswith(MARK) else 0
        end = skipped
        # A heading may span several lines in quotes.
        while end < len(start):
            line_end = start.find(b"\n", end) + 1 or len(start)
            if start[skipped:line_end].strip() and start[skipped:line_end].count(b'"') % 2 == 0:
                end = line_end
                break
            end = line_end
        text = start[skipped:end].decode(errors="replace")
        self.heading = next(filter(None, csv.reader(io.StringIO(text, newline=""))), [])
        self.begin = skipped
        self.after_heading = end

    def blocks(self, start: int) -> Iterator[Block]:
        """Yield the blocks from a position on."""
        for content, end in split(self._file, start, cut_records):
            yield Block(content, count_records(content), end)


class JsonLines:
    """JSON lines, with an instance on each as ``/predict`` accepts it."""

    heading: Sequence[str] = ()

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.end = size_of(file)
        self.begin = len(MARK) if file.read(len(MARK)) == MARK else 0

    def blocks(self, start: int) -> Iterator[Block]:
        """Yield the blocks from a position on."""
        for content, end in split(self._file, start, cut_lines):
            yield Block(content, sum(1 for line in content.split(b"\n") if line.strip()), end)


class Parquet:
    """Rows of Parquet; a position is a number of rows."""

    def __init__(self, file: BinaryIO) -> None:
        self.begin = 0
        try:
            import pyarrow.parquet
        except ImportError:
            raise StartupError(NEEDS_PYARROW) from None
        try:
            self._file = pyarrow.parquet.ParquetFile(file)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise StartupError(f"The file is not Parquet: {error}") from error
        self.heading: Sequence[str] = self._file.schema_arrow.names
        self.end = self._file.metadata.num_rows

    def narrow(self, index: int, pieces: int) -> None:
        """Read only the rows of piece ``index`` of ``pieces``, counted from 0."""
        rows = self.end
        self.begin, self.end = (rows * each // pieces for each in (index, index + 1))

    def blocks(self, start: int) -> Iterator[Block]:
        """Yield the blocks from a row on."""
        import pyarrow

        position = end = 0
        groups: list[int] = []
        for group in range(self._file.num_row_groups):
            begin, end = end, end + self._file.metadata.row_group(group).num_rows
            if end <= start:
                position = end
            elif begin < self.end:
                groups.append(group)
        for batch in self._file.iter_batches(BLOCK_ROWS, row_groups=groups) if groups else ():
            first = max(start - position, 0)
            rows = batch.slice(first, max(self.end - position - first, 0))
            if rows.num_rows:
                sink = pyarrow.BufferOutputStream()
                with pyarrow.ipc.new_stream(sink, rows.schema) as writer:
                    writer.write_batch(rows)
                end = position + first + rows.num_rows
                yield Block(sink.getvalue().to_pybytes(), rows.num_rows, end)
            position += batch.num_rows


# Each raises StartupError if the content of a file does not match its suffix.
SOURCES: dict[str, type[Csv | JsonLines | Parquet]] = {
    ".csv": Csv,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".parquet": Parquet,
}


def size_of(file: BinaryIO) -> int:
    """Return the size of a file in bytes, and rewind it."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return int(size)


def split(file: BinaryIO, start: int, cut: Any) -> Iterator[tuple[bytes, int]]:
    """Yield parts of a file and their end positions; ``cut`` returns how many of some bytes are whole rows."""
    file.seek(start)
    rest = b""
    while True:
        read = bytes(file.read(BLOCK_BYTES))
        content = rest + read
        size = cut(content) if read else len(content)
        if size:
            start += size
            yield content[:size], start
        elif len(content) > MOST_BYTES:
            raise StartupError(f"A row at byte {start} has more than {MOST_BYTES} bytes")
        if not read:
            return
        rest = content[size:]


def cut_lines(content: bytes) -> int:
    """Return the end of the last complete line."""
    return content.rfind(b"\n") + 1


def cut_records(content: bytes) -> int:
    """Return the end of the last complete CSV record: after a line break outside quotes."""
    is_quoted = content.count(b'"') % 2
    end = len(content)
    while (line_end := content.rfind(b"\n", 0, end)) >= 0:
        is_quoted ^= content.count(b'"', line_end, end) % 2
        if not is_quoted:
            return line_end + 1
        end = line_end
    return 0


def count_records(content: bytes) -> int:
    """Count the CSV records that are not blank, including invalid ones."""
    is_plain = not (
        b'"' in content
        or content.startswith((b"\n", b"\r"))
        or b"\n\n" in content
        or b"\n\r" in content
        or content.count(b"\r") != content.count(b"\r\n")
    )
    if is_plain:
        return content.count(b"\n") + (not content.endswith(b"\n"))
    return sum(1 for record in records_of(content.decode(errors="surrogateescape")) if record)


def records_of(text: str) -> Iterator[list[str] | csv.Error]:
    """Yield the CSV records, or the error of an invalid one."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield error
