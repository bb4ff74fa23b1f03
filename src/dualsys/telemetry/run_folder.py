"""The folder that every run leaves behind, and the two ways to write into it without losing anything.

Logs are appended line by line and handed to the operating system at once, so that they survive the death of
the process; `summary.json` is replaced as a whole, so that a reader never sees half of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from dualsys.clock import calendar_stamp
from dualsys.errors import ConfigError
from dualsys.telemetry.files import replace_file

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"
"""What JSON can say."""


class RunFolder:
    """One run's folder.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, parent: Path, name: str, stamp: str | None = None) -> RunFolder:
        """Make `parent/<stamp>-<name>`, with a number behind it where that is taken.

        Raises:
            ConfigError: If it cannot be made.
        """
        base = f"{stamp or calendar_stamp()}-{name}"
        number = 1
        while True:
            path = parent / (base if number == 1 else f"{base}-{number}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                if not path.is_dir():
                    raise ConfigError("run.folder", [f"{path}: exists and is not a folder"]) from None
                number += 1
            except OSError as error:
                fault = (
                    f"run.folder: {path} cannot be made ({error.strerror}); give a folder that can be written"
                )
                raise ConfigError("run.folder", [fault]) from error
            else:
                return cls(path)

    def log(self, process: str) -> Path:
        """Where a process writes what it has to say."""
        return self.path / f"{process}.log"

    def write_text(self, name: str, text: str) -> Path:
        """Replace a file as a whole: a reader sees either the old or the new one."""
        return replace_file(self.path / name, text.encode())

    def write_json(self, name: str, tree: Json) -> Path:
        """Replace a JSON file as a whole."""
        return self.write_text(name, json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


class JsonLines:
    """An append-only log of one JSON object a line, handed over line by line."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.lines = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, record: Mapping[str, Json]) -> None:
        """Write one record. Raises ValueError for NaN and infinity, which are not JSON."""
        line = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
        view = memoryview(line.encode())
        while view:
            view = view[os.write(self._descriptor, view) :]
        self.lines += 1

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """All whole records of a log. A last line that a dying process left unfinished is not one.

    Raises:
        ValueError: If a line that was finished is not a JSON object.
    """
    if not path.exists():
        return []
    records: list[dict[str, Any]] = []
    *finished, _ = path.read_bytes().split(b"\n")
    for number, line in enumerate(finished, 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise ValueError(f"{path}:{number}: expected an object, got {type(record).__name__}")
        records.append(record)
    return records
