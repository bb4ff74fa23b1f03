"""Reads a recording back, record by record, as far as it goes: a file that was cut is read up to the cut."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zstandard
from mcap.exceptions import McapError
from mcap.records import Attachment, Channel, Chunk, Footer, Header, McapRecord, Message
from mcap.stream_reader import StreamReader, breakup_chunk

from dualsys.errors import RecordingError
from dualsys.recorder.chain import MAX_RECORD_BYTES
from dualsys.recorder.extra import FILE_NAME
from dualsys.recorder.records import Record
from dualsys.recorder.topics import TOPICS
from dualsys.recorder.writer import PROFILE

_KINDS = {topic: kind for kind, topic in TOPICS.items()}
# A damaged byte can surface anywhere in the decoding.
_DAMAGE = (McapError, struct.error, ValueError, KeyError, zstandard.ZstdError, msgspec.MsgspecError)


class Entry(NamedTuple):
    """One record, and its number at the process that took it."""

    number: int
    record: Record


@dataclass
class RecordingReader:
    """Iterates over the records of a recording, in the order of the file.

    Args:
        path: The file, or the run folder that it lies in.

    Attributes:
        cut: Why reading ended before the end of the file; empty if it did not, or has not yet.
        attachments: Files that lie in it, as far as it was read.

    Raises:
        RecordingError: It cannot be opened, or is no recording.
    """

    path: Path
    cut: str = ""

    def __post_init__(self) -> None:
        if self.path.is_dir():
            self.path = self.path / FILE_NAME
        self.attachments: dict[str, bytes] = {}
        for record in self._raw():
            if not isinstance(record, Header) or record.profile != PROFILE:
                break
            return
        raise RecordingError(
            f"{self.path}: {self.cut or 'was not written by dualsys'}; "
            f"give the {FILE_NAME} of a run, or its folder"
        )

    def __iter__(self) -> Iterator[Entry]:
        kinds: dict[int, type[Record]] = {}
        try:
            for record in self._raw():
                if isinstance(record, Channel) and record.topic in _KINDS:
                    kinds[record.id] = _KINDS[record.topic]
                elif isinstance(record, Message) and record.channel_id in kinds:
                    kind = kinds[record.channel_id]
                    yield Entry(record.sequence, _decoder(kind).decode(record.data))
                elif isinstance(record, Attachment):
                    self.attachments[record.name] = record.data
        except msgspec.MsgspecError as error:
            self.cut = f"a record is not what it should be: {error}"

    def _raw(self) -> Iterator[McapRecord]:
        self.cut = ""
        try:
            with self.path.open("rb") as file:
                reader = StreamReader(file, emit_chunks=True, record_size_limit=MAX_RECORD_BYTES)
                for record in reader.records:
                    if not isinstance(record, Chunk):
                        yield record
                        if isinstance(record, Footer):
                            return
                    elif record.uncompressed_size > MAX_RECORD_BYTES:
                        raise ValueError(f"a chunk claims {record.uncompressed_size} bytes")
                    else:
                        yield from breakup_chunk(record, validate_crc=True)
        except OSError as error:
            self.cut = f"cannot be read: {error.strerror}"
        except _DAMAGE as error:
            self.cut = f"the file ends or is damaged here: {str(error) or type(error).__name__}"


@lru_cache(maxsize=64)
def _decoder(kind: type[Record]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)
