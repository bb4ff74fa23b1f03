"""Writes records into an MCAP file with a hash chain, chunk by chunk: what is flushed survives a kill."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec
from mcap.well_known import MessageEncoding, SchemaEncoding
from mcap.writer import CompressionType, Writer

import dualsys
from dualsys.errors import RecordingError
from dualsys.recorder.chain import ChainedFile
from dualsys.recorder.records import Record
from dualsys.recorder.topics import TOPICS

PROFILE: Final = "dualsys"
CHUNK_BYTES: Final = 1024 * 1024
"""A chunk is flushed at the latest when it is about as large as this, before compression."""

_MAX_SEQUENCE = 2**32


class RecordingWriter:
    """One recording.

    Args:
        path: The file; it must not exist yet.

    Attributes:
        records: Records written.

    Raises:
        RecordingError: The file cannot be made, or exists.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("xb")
        except OSError as error:
            raise RecordingError(f"{path}: cannot be made: {error.strerror}; choose another file") from error
        self._path = path
        self._chained = ChainedFile(self._file)
        self._writer = Writer(self._chained, chunk_size=2**40, compression=CompressionType.ZSTD)  # type: ignore[arg-type]
        self._channels: dict[type[Record], int] = {}
        self._pending = 0
        self.records = 0
        self._guarded(self._begin)

    @property
    def head(self) -> str:
        """Hash of the last link so far."""
        return self._chained.previous

    def _begin(self) -> None:
        self._writer.start(PROFILE, f"dualsys {dualsys.__version__}")
        for kind, topic in TOPICS.items():
            schema = _schema_json(kind)
            number = self._writer.register_schema(kind.__name__, SchemaEncoding.JSONSchema, schema)
            self._channels[kind] = self._writer.register_channel(topic, MessageEncoding.JSON, number)

    def attach(self, name: str, media_type: str, data: bytes, t_ns: int) -> None:
        """Add a whole file, such as the configuration."""
        self._guarded(lambda: self._writer.add_attachment(t_ns, t_ns, name, media_type, data))

    def write(self, record: Record, number: int = 0) -> None:
        """Add one record; on the disk after the next flush.

        Args:
            record: What to add.
            number: Its number at its source.

        Raises:
            RecordingError: The disk is full or fails.
        """
        data = to_json(record)
        channel, t_ns = self._channels[type(record)], max(0, record.t_ns)
        self._writer.add_message(channel, t_ns, data, t_ns, number % _MAX_SEQUENCE)
        self.records += 1
        self._pending += len(data)
        if self._pending >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """End the chunk, link it into the chain, and have it on the disk.

        Raises:
            RecordingError: The disk is full or fails.
        """
        if self._pending:
            self._pending = 0
            self._guarded(self._flush)

    def close(self) -> None:
        """Seal and close the file. Closing twice is allowed.

        Raises:
            RecordingError: The disk is full or fails.
        """
        if not self._file.closed:
            try:
                self.flush()
                self._guarded(lambda: self._chained.seal(self._writer))
            finally:
                self._file.close()

    def _flush(self) -> None:
        self._writer.flush()  # type: ignore[no-untyped-call]
        self._chained.link(self._writer)
        os.fdatasync(self._file.fileno())

    def _guarded(self, action: Any) -> None:
        try:
            action()
        except OSError as error:
            with suppress(OSError):
                self._file.close()
            raise RecordingError(
                f"{self._path}: cannot be written: {error.strerror}; what was flushed before can be read"
            ) from error


def to_json(record: Record) -> bytes:
    """A record as JSON. Numbers that are not finite become texts."""
    data = msgspec.json.encode(record)
    # No field of a record may be null, so this can only be such a number, or a text with that word.
    return msgspec.json.encode(_finite(msgspec.to_builtins(record))) if b"null" in data else data


def _finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _finite(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    if isinstance(tree, float) and not math.isfinite(tree):
        return "NaN" if math.isnan(tree) else "Infinity" if tree > 0 else "-Infinity"
    return tree


def schema_of(kind: type[Record]) -> dict[str, Any]:
    """JSON Schema of a record, in the plain subset that plotting tools read."""
    full = msgspec.json.schema(kind)
    plain: dict[str, Any] = _plain(full, full["$defs"])
    return {"title": kind.__name__, **plain}


@lru_cache
def _schema_json(kind: type[Record]) -> bytes:
    return msgspec.json.encode(schema_of(kind))


def _plain(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return _plain(definitions[node["$ref"].removeprefix("#/$defs/")], definitions)
    if "anyOf" in node:
        return _plain(next(one for one in node["anyOf"] if one.get("type") != "null"), definitions)
    kind = node.get("type", "string" if "enum" in node else None)
    plain: dict[str, Any] = {} if kind is None else {"type": kind}
    if "properties" in node:
        properties = {name: _plain(value, definitions) for name, value in node["properties"].items()}
        plain["properties"] = properties
    if isinstance(node.get("items"), dict):
        plain["items"] = _plain(node["items"], definitions)
    return plain
