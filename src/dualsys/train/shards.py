"""Data sets as shards: folders of `.npy` files, made several at a time and kept.

A shard is there as a whole or not at all, so an interrupted run goes on where it stopped. Those of episodes
have an array `wrist`, a row for each of T steps, and `fixed`, a row for each frame that System 2 is shown;
`first_step` and `first_frame` int64 [T] are the rows of these two with which the episode of a step begins.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualsys.train.loop import progress_bar

Arrays = dict[str, NDArray[np.generic]]

_PARTIAL = ".partial"


def make_shards(
    folder: Path,
    count: int,
    make: Callable[[int], Arrays],
    processes: int = 1,
    begin: Callable[..., None] | None = None,
    begin_with: tuple[Any, ...] = (),
) -> None:
    """Make the shards of a folder that are missing. What is in one does not depend on the processes.

    Args:
        folder: Where they go.
        count: How many there are to be.
        make: From the number of a shard to its arrays; run in other processes.
        processes: How many.
        begin, begin_with: What each of them does first, and its arguments.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(count) if not _shard(folder, number).exists()]
    if not missing:
        return
    with (
        ProcessPoolExecutor(processes, get_context("spawn"), begin, begin_with) as pool,
        progress_bar() as bar,
    ):
        row = bar.add_task(folder.name, total=count, completed=count - len(missing), note="shards")
        for _ in pool.map(partial(_make_shard, folder, make), missing):
            bar.advance(row)


def load_shards(folder: Path) -> Arrays:
    """All shards of a folder as one set of arrays, with `first_step` and `first_frame` counted through."""
    shards = sorted(path for path in folder.iterdir() if path.is_dir() and path.suffix != _PARTIAL)
    names = [path.stem for path in sorted(shards[0].glob("*.npy"))]
    parts = {name: [np.load(shard / f"{name}.npy", allow_pickle=False) for shard in shards] for name in names}
    for first, counted in (("first_step", "wrist"), ("first_frame", "fixed")):
        if first in parts:
            before = np.cumsum([0, *(len(part) for part in parts[counted])])
            parts[first] = [part + before[index] for index, part in enumerate(parts[first])]
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def joined(episodes: Iterable[Arrays]) -> Arrays:
    """Episodes one after the other, as the arrays of a shard: with `first_step` and `first_frame`."""
    collected: dict[str, list[NDArray[np.generic]]] = {}
    steps = frames = 0
    for arrays in episodes:
        length = len(arrays["wrist"])
        firsts: Arrays = {
            "first_step": np.full(length, steps, dtype=np.int64),
            "first_frame": np.full(length, frames, dtype=np.int64),
        }
        steps, frames = steps + length, frames + len(arrays["fixed"])
        for name, array in (arrays | firsts).items():
            collected.setdefault(name, []).append(array)
    return {name: np.concatenate(parts) for name, parts in collected.items()}


def _shard(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}"


def _make_shard(folder: Path, make: Callable[[int], Arrays], number: int) -> None:
    arrays, whole = make(number), _shard(folder, number)
    unfinished = whole.with_suffix(_PARTIAL)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for name, array in arrays.items():
        np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
    unfinished.rename(whole)
