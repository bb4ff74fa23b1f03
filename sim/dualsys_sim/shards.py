"""Shards on disk: a folder of `.npy` files and one list of texts, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TEXTS_FILE = "instructions.json"


def write_shard(path: Path, arrays: Mapping[str, NDArray[np.generic]], texts: list[str]) -> None:
    """Write a shard. It appears under its name only once it is complete."""
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(part / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
    (part / TEXTS_FILE).write_text(json.dumps(texts, indent=0))
    os.replace(part, path)


def read_shard(path: Path) -> tuple[dict[str, NDArray[np.generic]], list[str]]:
    """The arrays of a shard, memory-mapped read-only, and its texts."""
    arrays = {
        file.stem: np.load(file, mmap_mode="r", allow_pickle=False) for file in sorted(path.glob("*.npy"))
    }
    return arrays, json.loads((path / TEXTS_FILE).read_text())


def shard_paths(folder: Path, prefix: str) -> list[Path]:
    """Every complete shard of a kind ("episodes" or "scenes") in a folder, in order."""
    return sorted(path for path in folder.glob(f"{prefix}_[0-9]*") if path.suffix != ".part")
