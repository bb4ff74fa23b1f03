"""The hash chain of a recording: every byte of the file is covered, so that an edit or a cut shows.

The file is divided into segments. Each is followed by a link: an MCAP metadata record that holds

    sha256 = SHA-256(sha256 of the link before, as text, then all bytes since the start of that link)

and where the segment begins. A link is thus covered by the one after it. The last link is the seal, whose
hash covers the rest of the file behind it as well: the MCAP summary and the end mark.

The chain has no key. It shows accidents and edits; it does not stop somebody who computes all of it anew.
Whoever needs that keeps the last hash elsewhere.
"""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from mcap.data_stream import ReadDataStream, RecordBuilder
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Metadata
from mcap.writer import MCAP0_MAGIC, Writer

from dualsys.errors import RecordingError

LINK: Final = "dualsys.chain.link"
SEAL: Final = "dualsys.chain.seal"
NO_HASH: Final = "0" * 64
"""What stands for the hash of the link before the first."""

MAX_RECORD_BYTES: Final = 256 * 1024 * 1024
_HEAD = struct.Struct("<BQ")
_TIMES = struct.Struct("<QQ")


def _link(index: int, start: int, previous: str, sha256: str) -> dict[str, str]:
    return {"index": str(index), "start": str(start), "previous": previous, "sha256": sha256}


def _record(name: str, content: dict[str, str]) -> bytes:
    builder = RecordBuilder()
    Metadata(name=name, metadata=content).write(builder)
    return bytes(builder.end())  # type: ignore[no-untyped-call]


class ChainedFile:
    """A file for an MCAP writer, which hashes whatever passes through.

    Args:
        file: Opened for writing, empty.

    Attributes:
        previous: Hash of the last link.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0
        self._index = 0
        self._start = 0
        self._tail: io.BytesIO | None = None
        self.previous = NO_HASH
        self._hash = hashlib.sha256(NO_HASH.encode())

    def write(self, data: bytes) -> int:
        """Append."""
        if self._tail is not None:
            self._tail.write(data)
        else:
            self._file.write(data)
            self._hash.update(data)
        self._offset += len(data)
        return len(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._offset

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._file.flush()

    def link(self, writer: Writer) -> None:
        """End a segment: let the writer, which must have nothing in its buffers, append a link."""
        sha256 = self._hash.hexdigest()
        content = _link(self._index, self._start, self.previous, sha256)
        self._index += 1
        self._start, self.previous = self._offset, sha256
        self._hash = hashlib.sha256(sha256.encode())
        writer.add_metadata(LINK, content)
        self.flush()

    def seal(self, writer: Writer) -> None:
        """End the last segment and the file: let the writer append the seal and all that comes after it."""
        self._tail = io.BytesIO()
        writer.add_metadata(SEAL, _link(self._index, self._start, self.previous, NO_HASH))
        length = self._tail.tell()
        writer.finish()  # type: ignore[no-untyped-call]
        rest = self._tail.getvalue()[length:]
        self._hash.update(rest)
        sha256 = self._hash.hexdigest()
        self._file.write(_record(SEAL, _link(self._index, self._start, self.previous, sha256)) + rest)
        self.previous = sha256
        self.flush()


@dataclass(frozen=True)
class Break:
    """A link that does not fit the bytes before it.

    Attributes:
        index: Number of the link; -1 where there is none any more.
        start, end: The bytes that it covers.
        start_ns, end_ns: Times of the records among them, edge clock; -1 if there are none.
        why: What is wrong.
    """

    index: int
    start: int
    end: int
    start_ns: int
    end_ns: int
    why: str

    def line(self) -> str:
        """In words."""
        times = f", records of {self.start_ns} to {self.end_ns} ns" if self.start_ns >= 0 else ""
        return f"broken at link {self.index} (bytes {self.start} to {self.end}{times}): {self.why}"


@dataclass
class Verdict:
    """What the check of a chain came to.

    Attributes:
        links: Links that were read, the seal included.
        head: Hash of the last of them.
        sealed: Whether the file was closed, and its seal is there.
        uncovered: Bytes after the last link of a file without a seal.
        breaks: Links that do not fit, in the order of the file.
    """

    links: int = 0
    head: str = NO_HASH
    sealed: bool = False
    uncovered: int = 0
    breaks: list[Break] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether nothing was changed, and nothing is missing at the end."""
        return self.sealed and not self.breaks

    def lines(self) -> list[str]:
        """In words, the first broken link first."""
        lines = [one.line() for one in self.breaks[:1]]
        if len(self.breaks) > 1:
            lines.append(f"and {len(self.breaks) - 1} more links do not fit")
        if self.intact:
            lines.append(f"intact: all {self.links} links fit, and the file is sealed")
        elif not self.sealed:
            lines.append(
                f"not sealed: the file was cut, or the recorder did not end; {self.links} links were read, "
                f"{self.uncovered} bytes after the last are covered by none"
            )
        return [*lines, f"last hash {self.head}"]


@dataclass
class _Segment:
    """The segment that is being read."""

    start: int = 0
    start_ns: int = -1
    end_ns: int = -1
    hash: hashlib._Hash = field(default_factory=lambda: hashlib.sha256(NO_HASH.encode()))

    def note_times(self, chunk: bytes) -> None:
        """Take the times of the messages of a chunk record."""
        start_ns, end_ns = _TIMES.unpack_from(chunk, _HEAD.size)
        self.start_ns = start_ns if self.start_ns < 0 else min(self.start_ns, start_ns)
        self.end_ns = max(self.end_ns, end_ns)


def verify(path: Path) -> Verdict:
    """Check the chain of a recording.

    Raises:
        RecordingError: The file cannot be read, or is no MCAP file.
    """
    try:
        with path.open("rb") as file:
            return _verify(file)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}") from error


def _verify(file: BinaryIO) -> Verdict:
    verdict, segment, index, previous = Verdict(), _Segment(), 0, NO_HASH
    magic = file.read(len(MCAP0_MAGIC))
    segment.hash.update(magic)
    if magic != MCAP0_MAGIC:
        verdict.breaks.append(Break(0, 0, len(magic), -1, -1, "the file does not begin like an MCAP file"))
        return verdict
    offset = len(magic)
    while True:
        record = _next_record(file)
        if record is None:
            break
        found = _read_link(record) if record[0] == Opcode.METADATA else None
        if found is None:
            if record[0] == Opcode.CHUNK and len(record) >= _HEAD.size + _TIMES.size:
                segment.note_times(record)
            segment.hash.update(record)
            offset += len(record)
            continue
        name, content = found
        rest = b""
        if name == SEAL:
            rest = file.read()
            segment.hash.update(rest)
        sha256 = segment.hash.hexdigest()
        verdict.links += 1
        if record != _record(name, _link(index, segment.start, previous, sha256)):
            why = _difference(content, index, segment.start, previous, sha256)
            verdict.breaks.append(Break(index, segment.start, offset, segment.start_ns, segment.end_ns, why))
        # What the file says is taken up, so that a single break does not hide whether the rest fits.
        verdict.head = previous = content.get("sha256", "")
        verdict.sealed = name == SEAL
        said = content.get("index", "")
        index = (int(said) if said.isdecimal() else index) + 1
        if verdict.sealed:
            return verdict
        segment = _Segment(start=offset, hash=hashlib.sha256(previous.encode()))
        segment.hash.update(record)
        offset += len(record)
        verdict.uncovered = 0
    verdict.uncovered = max(0, file.seek(0, io.SEEK_END) - offset)
    return verdict


def _next_record(file: BinaryIO) -> bytes | None:
    """The next whole record with its head; None where the file ends, or what follows is no record."""
    start = file.tell()
    head = file.read(_HEAD.size)
    if len(head) == _HEAD.size:
        _, length = _HEAD.unpack(head)
        if length <= MAX_RECORD_BYTES:
            body = file.read(length)
            if len(body) == length:
                return head + body
    file.seek(start)
    return None


def _read_link(record: bytes) -> tuple[str, dict[str, str]] | None:
    """Name and content of a link or seal; None for any other metadata."""
    try:
        metadata = Metadata.read(ReadDataStream(io.BytesIO(record[_HEAD.size :])))
    except (McapError, struct.error, UnicodeDecodeError):
        return None
    return (metadata.name, metadata.metadata) if metadata.name in (LINK, SEAL) else None


def _difference(content: dict[str, str], index: int, start: int, previous: str, sha256: str) -> str:
    """Which field of a link differs from what was computed."""
    expected = _link(index, start, previous, sha256)
    for name in ("index", "previous", "start", "sha256"):
        if content.get(name) != expected[name]:
            if name == "sha256":
                return "the bytes that it covers are not those that were written"
            return f"{name}: expected {expected[name]}, it says {content.get(name, 'nothing')}"
    return "the link itself was changed"
