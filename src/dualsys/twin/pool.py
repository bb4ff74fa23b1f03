"""Many episodes, spread over processes of one thread each. Results do not depend on how many there are."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dualsys.bundles import Manifest, Role, load_manifest
from dualsys.errors import ConfigError, DualsysError, MissingExtraError
from dualsys.fast.policies.weak import weak_manifest
from dualsys.messages import UplinkMode
from dualsys.robots.tabletop import ARMS, TABLE_PANDA, TabletopArm
from dualsys.twin.episode import run_episode
from dualsys.twin.result import EpisodeResult
from dualsys.twin.settings import Parts, TwinSettings

if TYPE_CHECKING:
    from dualsys_sim.episode import Event, Phrasing
    from dualsys_sim.world import World

THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Read by numerical libraries when they are loaded. More threads would only get into each other's way."""


class Source(Protocol):
    """Where the two systems come from. It is sent to the workers, and each loads its own."""

    def load(self) -> Parts:
        """Load both systems."""
        ...

    def describe(self) -> dict[str, str]:
        """Names and weights, for reports."""
        ...


@dataclass(frozen=True)
class Bundles:
    """Trained systems, from their bundles.

    Attributes:
        uplink: What the one is to send to the other: System 2 is loaded whole, or as its two halves.
        weak: The weak policy beside System 1, if there is one.
    """

    system1: Path
    system2: Path
    uplink: UplinkMode = "images"
    weak: Path | None = None

    def load(self) -> Parts:
        """Load both systems.

        Raises:
            BundleError: A bundle is damaged, the System 2 has no halves, or the weak policy is of another
                kind.
            MismatchError: The two were not trained together.
        """
        from dualsys.fast.policies.onnx import open_system1
        from dualsys.fast.policies.vision import OnnxVision
        from dualsys.slow.backends.onnx import OnnxLanguage, OnnxSystem2

        split = self.uplink == "features"
        system1 = open_system1(self.system1, self.weak)
        system2 = OnnxLanguage(self.system2) if split else OnnxSystem2(self.system2)
        system1.specs.require_equal(system2.specs)
        return Parts(system2, system1, vision=OnnxVision(self.system2) if split else None)

    def describe(self) -> dict[str, str]:
        """Names and weights, as the manifests have them.

        Raises:
            BundleError: A bundle is damaged, or the weak policy is of another kind.
        """
        folders: dict[Role, Path] = {"system1": self.system1, "system2": self.system2}
        found: dict[str, Manifest] = {role: load_manifest(folder, role) for role, folder in folders.items()}
        if self.weak is not None:
            found["weak"] = weak_manifest(self.weak, found["system1"])
        told: dict[str, str] = {}
        for name, manifest in found.items():
            told |= {name: manifest.name, f"{name}_weights": manifest.weights}
        return told


@dataclass(frozen=True)
class Scripted:
    """The scripted pair, which knows the truth."""

    def load(self) -> Parts:
        """Make the pair."""
        from dualsys.twin.scripted import scripted_parts

        return scripted_parts()

    def describe(self) -> dict[str, str]:
        """That it is no network."""
        return {"system1": "scripted", "system2": "scripted"}


@dataclass(frozen=True)
class Job:
    """One episode to run: the arguments of `make_episode`, and the settings."""

    task: str
    seed: int
    settings: TwinSettings
    phrasing: Phrasing = "seen"
    event: Event | None = None
    min_blocks: int = 3


def require_simulator() -> None:
    """Return if the simulator can be used.

    Raises:
        MissingExtraError: PyBullet is not installed.
    """
    try:
        import dualsys_sim.world  # noqa: F401
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(("pybullet", "dualsys_sim")):
            raise MissingExtraError("pybullet", "sim", "the digital twin") from error
        raise


class EpisodePool:
    """Runs episodes. Use it as a context manager.

    Args:
        source: Where the systems come from.
        workers: Processes; 1 runs everything in this one.
        arm: Which arm stands at the table.

    Raises:
        ConfigError: Fewer than one worker.
        MissingExtraError: PyBullet is not installed.
    """

    def __init__(self, source: Source, workers: int, arm: TabletopArm = TABLE_PANDA) -> None:
        if workers < 1:
            raise ConfigError("twin", [f"workers: expected at least 1, got {workers}"])
        require_simulator()
        self._source = source
        self._workers = workers
        self._arm = arm
        self._executor: ProcessPoolExecutor | None = None
        self._bench: _Bench | None = None

    def __enter__(self) -> EpisodePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop what has not begun and let go of the workers. Calling it again does nothing."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
        if self._bench is not None:
            self._bench.world.close()
            self._bench = None

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, EpisodeResult]]:
        """Run all jobs; yields each one's index and result as soon as it is done, in any order."""
        if self._workers == 1:
            if self._bench is None:
                self._bench = _Bench.open(self._source, self._arm)
            for index, job in enumerate(jobs):
                yield index, self._bench.run(job)
            return
        if self._executor is None:
            self._source.describe()  # a damaged bundle is told here, not by a worker that dies of it
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(
                self._workers, context, _start_worker, (self._source, self._arm.name)
            )
        with _single_threaded_children():
            futures = {self._executor.submit(_work, job): index for index, job in enumerate(jobs)}
            for future in as_completed(futures):
                yield futures[future], future.result()


@dataclass(frozen=True)
class _Bench:
    """A world and the systems, loaded once and used for one episode after the other."""

    parts: Parts
    world: World

    @classmethod
    def open(cls, source: Source, arm: TabletopArm) -> _Bench:
        from dualsys_sim.world import World

        return cls(source.load(), World(arm=arm))

    def run(self, job: Job) -> EpisodeResult:
        from dualsys_sim.episode import make_episode

        episode = make_episode(job.task, job.seed, job.phrasing, job.event, job.min_blocks)
        return run_episode(
            self.parts,
            self.world,
            episode,
            job.settings,
            phrasing=job.phrasing,
            event=job.event,
            min_blocks=job.min_blocks,
        )


_bench: _Bench | DualsysError | None = None


def _start_worker(source: Source, arm: str) -> None:
    global _bench
    try:
        _bench = _Bench.open(source, ARMS[arm])
    except DualsysError as error:
        # A worker that does not start takes the pool along and says nothing: the first job tells.
        _bench = error


def _work(job: Job) -> EpisodeResult:
    if _bench is None:
        raise RuntimeError("the worker was not started by EpisodePool")
    if isinstance(_bench, DualsysError):
        raise _bench
    return _bench.run(job)


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Let processes that start meanwhile use one thread each; libraries read this when they are loaded."""
    before = {name: os.environ.get(name) for name in THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
