from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from dualsys.clock import NS_PER_MS
from dualsys.config import SystemConfig, load_config
from dualsys.errors import BundleError, ConfigError, InstructionError, MissingExtraError
from dualsys.fast.chunking.strategy import default_options
from dualsys.twin.evaluate import evaluate, for_scripted, settings_of, source_of
from dualsys.twin.latency import Constant
from dualsys.twin.pool import Bundles
from dualsys.twin.report import Report

CONFIG = SystemConfig()


def test_results_do_not_depend_on_the_number_of_workers() -> None:
    alone, spread = (
        evaluate(CONFIG, "touch", episodes=2, workers=workers, scripted=True, show_progress=False)
        for workers in (1, 2)
    )

    assert alone == spread
    assert [result.trace_sha256 for result in alone.results] == [one.trace_sha256 for one in spread.results]
    assert alone.successes == 2


@pytest.mark.parametrize("arm", ["iiwa14", "xarm6"])
def test_the_arm_at_the_table_is_that_of_the_configuration_and_the_report_names_it(arm: str) -> None:
    config = SystemConfig.model_validate({"robot": {"driver": "pybullet", "options": {"arm": arm}}})
    panda, other, again = (
        evaluate(one, "touch", episodes=1, workers=1, scripted=True, show_progress=False)
        for one in (CONFIG, config, config)
    )
    assert (other.successes, other.settings["arm"]) == (1, arm)
    assert other == again, "the same trace, to the bit"
    assert other.results[0].trace_sha256 != panda.results[0].trace_sha256
    assert "arm" not in panda.settings


def test_an_arm_that_is_not_there_is_refused_before_anything_runs() -> None:
    config = SystemConfig.model_validate({"robot": {"options": {"arm": "puma"}}})
    with pytest.raises(ConfigError, match=r"robot\.options\.arm: got 'puma', expected one of panda, iiwa14"):
        evaluate(config, "touch", episodes=1, workers=1, scripted=True, show_progress=False)


def test_a_report_is_written_and_says_how_to_repeat_it(tmp_path: Path) -> None:
    report = evaluate(
        CONFIG, "touch", episodes=1, workers=1, system2_delay=Constant(100 * NS_PER_MS), scripted=True,
        show_progress=True,
    )  # fmt: skip
    report.write(tmp_path / "deep" / "report.json")

    again = msgspec.json.decode((tmp_path / "deep" / "report.json").read_bytes(), type=Report)
    assert again == report
    assert again.settings["system2_delay"] == "100 ms"
    assert again.versions["pybullet"] != "not installed"
    assert 0.0 < again.success_interval[0] < again.success_interval[1] == 1.0
    assert "1 of 1" in report.line()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [({"event": "moved", "task": "push"}, "event"), ({"episodes": 0}, "episodes"), ({"seed": -1}, "seed"),
     ({"event": "changed", "latent": "other"}, "event"), ({"workers": 0}, "workers"),
     ({"strategy": "magic"}, "strategy")],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_before_anything_runs(arguments: dict[str, object], fault: str) -> None:
    settings = {"task": "touch", "scripted": True, "show_progress": False, "workers": 1} | arguments
    with pytest.raises(ConfigError, match=fault):
        evaluate(CONFIG, **settings)  # type: ignore[arg-type]


def test_the_scripted_pair_has_no_features_to_send_and_networks_are_loaded_as_the_uplink_says() -> None:
    split = CONFIG.model_copy(update={"slow": CONFIG.slow.model_copy(update={"uplink": "features"})})
    with pytest.raises(ConfigError, match="the scripted pair has no vision tower"):
        source_of(split, scripted=True)
    assert source_of(split, scripted=False) == Bundles(split.fast.bundle, split.slow.bundle, "features")
    assert settings_of(split).describe()["feature_codec"] == split.slow.feature_codec == "float16"
    assert "uplink" not in settings_of(CONFIG).describe()


def test_the_scripted_pair_has_the_defaults_of_the_strategy_whatever_was_chosen_for_the_networks(
    repository: Path,
) -> None:
    config = load_config(repository / "configs/tabletop.yaml")
    assert config.fast.strategy.options, "else there is nothing to leave out"
    settings = for_scripted(settings_of(config))
    assert settings.strategy == config.fast.strategy.name
    assert settings.strategy_options == default_options(settings.strategy)
    assert settings.image_encoding == "raw"
    report = evaluate(config, "touch", episodes=1, workers=1, scripted=True, show_progress=False)
    assert report.settings["strategy_options"] == default_options(settings.strategy)


def test_an_unknown_task_names_those_there_are() -> None:
    with pytest.raises(InstructionError, match="around, conveyor, follow, intercept, pick"):
        evaluate(CONFIG, "juggle", scripted=True)


def test_a_missing_bundle_is_named() -> None:
    config = CONFIG.model_copy(
        update={"fast": CONFIG.fast.model_copy(update={"bundle": Path("/nowhere/at/all")})}
    )
    with pytest.raises(BundleError, match="nowhere"):
        evaluate(config, "touch", episodes=1, workers=1, show_progress=False)


def test_a_missing_simulator_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dualsys_sim.world", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dualsys\[sim\]'"):
        evaluate(CONFIG, "touch", scripted=True)


def test_settings_come_from_the_configuration_unless_given() -> None:
    found = settings_of(CONFIG, strategy="naive_async", system2_rate_hz=2.0)

    assert found.system2_delay == Constant(round(CONFIG.slow.delay_ms * NS_PER_MS))
    assert found.ages.latent_hard_ns == round(CONFIG.control.ages.latent_hard_ms * NS_PER_MS)
    assert (found.strategy, found.strategy_options, found.system2_rate_hz) == (
        "naive_async",
        {"execution_horizon": 1},
        2.0,
    )
    assert settings_of(CONFIG).strategy_options == default_options("rtc")


def test_the_correction_is_that_of_the_configuration_and_told_where_it_is_on(repository: Path) -> None:
    on = settings_of(load_config(repository / "configs/tabletop.yaml", {"fast.strategy.residual": True}))
    assert on.residual
    assert on.describe()["residual"] is True
    assert "residual" not in settings_of(CONFIG).describe()
    stays = settings_of(load_config(repository / "configs/tabletop.yaml", {"fast.look_again": False}))
    assert stays.describe()["look_again"] is False
    assert "look_again" not in settings_of(CONFIG).describe()
    calm = settings_of(load_config(repository / "configs/tabletop.yaml", {"fast.noise_scale": 0.3}))
    assert (calm.noise_scale, calm.describe()["noise_scale"]) == (0.3, 0.3)
    assert "noise_scale" not in settings_of(CONFIG).describe()
