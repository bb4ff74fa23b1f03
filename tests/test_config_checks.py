"""What is fine by itself and does not fit together: ages and workspaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualsys.config import load_config
from dualsys.errors import ConfigError

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))


def faults_of(overrides: dict[str, object]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(CONFIGS[0], overrides)
    return caught.value.faults


@pytest.mark.fault_row(46)
@pytest.mark.parametrize("thing", ["latent", "observation", "plan", "reading"])
def test_a_hard_age_is_above_its_soft_one(thing: str) -> None:
    ages = {f"control.ages.{thing}_soft_ms": 900.0, f"control.ages.{thing}_hard_ms": 900.0}
    (fault,) = faults_of(ages)
    assert fault.startswith(
        f"control.ages.{thing}_hard_ms: got 900 ms, expected more than control.ages.{thing}"
    )


@pytest.mark.fault_row(46)
def test_a_workspace_has_room() -> None:
    bounds = {"control.limits.workspace.y_min_m": 0.3, "control.limits.workspace.y_max_m": 0.3}
    (fault,) = faults_of(bounds)
    assert fault.startswith("control.limits.workspace.y_max_m: got 0.3 m, expected more than")


@pytest.mark.fault_row(46)
def test_a_smoothing_that_does_not_exist_is_refused_with_those_that_do() -> None:
    (fault,) = faults_of({"control.smoothing": "butter"})
    assert "'limiter' or 'ruckig'" in fault


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.name))
def test_shipped_configurations_slow_down_before_they_hold(path: Path) -> None:
    ages = load_config(path).control.ages
    assert ages.latent_soft_ms < ages.latent_hard_ms
    assert ages.plan_soft_ms < ages.plan_hard_ms
    assert ages.reading_soft_ms < ages.reading_hard_ms <= 200, "the longest read timeout that a UR accepts"
