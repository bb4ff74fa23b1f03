from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from dualsys.twin.episode import run_episode
from dualsys.twin.result import EpisodeResult
from dualsys.twin.settings import TwinSettings

pytest.importorskip("pybullet")

Play = Callable[..., EpisodeResult]


@pytest.fixture(scope="session")
def play() -> Iterator[Play]:
    """Run an episode of the scripted pair: `play(task, seed, event=None, **settings)`.

    `timeout_s` replaces its time limit, `moved_s` the moment at which a hand begins to move the object.
    """
    from dualsys.twin.scripted import scripted_parts
    from dualsys_sim.episode import make_episode
    from dualsys_sim.world import World

    parts = scripted_parts()
    with World() as world:

        def run(
            task: str,
            seed: int,
            event: Any = None,
            timeout_s: float | None = None,
            moved_s: float | None = None,
            **settings: Any,
        ) -> EpisodeResult:
            episode = make_episode(task, seed, event=event)
            episode = episode if timeout_s is None else replace(episode, timeout_s=timeout_s)
            if moved_s is not None:
                assert episode.hand is not None
                episode = replace(episode, hand=replace(episode.hand, time_s=moved_s))
            return run_episode(parts, world, episode, TwinSettings(**settings), event=event)

        yield run
