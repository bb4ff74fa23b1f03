"""A weak policy in the twin: the full criterion of `bid`, as repeatable as everything else there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dualsys.config import SystemConfig, load_config
from dualsys.errors import BundleError, ConfigError, DualsysError, MismatchError
from dualsys.twin import pool
from dualsys.twin.evaluate import evaluate, settings_of, source_of
from dualsys.twin.pool import Bundles, Job
from dualsys.twin.report import Report
from dualsys.twin.settings import Parts, TwinSettings

OPTIONS = {"samples": 4, "nearest": 2}


@pytest.fixture
def weakened(repository: Path) -> SystemConfig:
    """The shipped system with its own System 1 as the weak policy."""
    return load_config(
        repository / "configs/tabletop.yaml",
        {
            "fast.weak_bundle": str(repository / "bundles/tabletop/system1"),
            "fast.strategy.name": "bid",
            "fast.strategy.options": OPTIONS,
        },
    )


@pytest.mark.timeout(300)
def test_episodes_with_a_weak_policy_are_repeatable_and_others_than_without(weakened: SystemConfig) -> None:
    def run(config: SystemConfig) -> Report:
        return evaluate(config, "touch", episodes=1, seed=500_000, workers=1, show_progress=False)

    fast = weakened.fast.model_copy(
        update={
            "weak_bundle": None,
            "strategy": weakened.fast.strategy.model_copy(update={"options": OPTIONS | {"nearest": 0}}),
        }
    )
    first, again, alone = run(weakened), run(weakened), run(weakened.model_copy(update={"fast": fast}))
    assert first == again, "the same trace, to the bit"
    assert first.successes == 1
    assert first.results[0].counters["planner.abandoned_jobs"] == 0
    assert first.results[0].counters["planner.guided_jobs"] > 10
    assert first.results[0].trace_sha256 != alone.results[0].trace_sha256
    assert first.systems["weak_weights"] == first.systems["system1_weights"]
    assert "weak" not in alone.systems


def test_bundles_come_from_the_configuration(weakened: SystemConfig) -> None:
    fast, slow = weakened.fast, weakened.slow
    assert source_of(weakened, scripted=False) == Bundles(fast.bundle, slow.bundle, weak=fast.bundle)


def test_what_does_not_go_together_is_refused_before_anything_runs(weakened: SystemConfig) -> None:
    with pytest.raises(ConfigError, match=r"fast\.weak_bundle: got .*, expected null: the scripted pair has"):
        evaluate(weakened, "touch", scripted=True, show_progress=False)
    with pytest.raises(ConfigError, match=r"fast\.weak_bundle: got .*, expected null: 'rtc' draws nothing"):
        settings_of(weakened, strategy="rtc")
    with pytest.raises(ConfigError, match=r"fast\.strategy\.options\.nearest: got 2, expected 0 while fast"):
        settings_of(SystemConfig(), strategy="bid", strategy_options=OPTIONS)


def test_a_weak_bundle_of_another_role_is_told_before_any_worker_starts(weakened: SystemConfig) -> None:
    fast = weakened.fast.model_copy(update={"weak_bundle": weakened.slow.bundle})
    config = weakened.model_copy(update={"fast": fast})
    with pytest.raises(BundleError, match=r"^fast\.weak_bundle: .*: role: expected 'system1', got 'system2'"):
        evaluate(config, "touch", episodes=2, workers=2, show_progress=False)


@pytest.mark.parametrize(
    "error",
    [BundleError("latents that are read: expected 2, got 4"), MismatchError("latent", "2", "4", "mend")],
)
def test_what_a_worker_cannot_load_is_told_by_its_first_episode(
    error: DualsysError, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unlike:
        """Systems whose difference shows only when they are loaded."""

        def load(self) -> Parts:
            raise error

        def describe(self) -> dict[str, str]:
            return {}

    monkeypatch.setattr(pool, "_bench", None)
    source: Any = Unlike()
    pool._start_worker(source, "panda")
    with pytest.raises(type(error), match=re.escape(str(error))):
        pool._work(Job("touch", 1, TwinSettings()))
