"""What can be said of a strategy and a bundle is said before any process is started."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dualsys.bundles import Manifest, Sampler, hash_files, weights_digest, write_manifest
from dualsys.cli import main
from dualsys.config import FastConfig
from dualsys.errors import BundleError, ConfigError
from dualsys.fast.planner.preflight import require_runnable
from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

SPECS = SystemSpecs(
    ObservationSpec({"fixed": TensorSpec((6, 8, 3), "uint8")}, TensorSpec((9,))),
    LatentSpec("latent_sequence", {"tokens": TensorSpec((2, 3))}),
)
ACTION = ActionSpec("tool_velocity", ("x", "y", "z", "gripper"), 8, 40_000_000, (0.012, 0.012, 0.012, 1.0))


def make_bundle(folder: Path, version: int = 2, names: tuple[str, ...] = ("sampler.onnx",)) -> Path:
    """A bundle of chunks of 8 actions of 40 ms, whose graphs are never opened."""
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"a graph")
    files = hash_files(folder, names)
    manifest = Manifest(
        format=version, role="system1", name="short", specs=SPECS, weights=weights_digest(files),
        files=files, action=ACTION, sampler=Sampler(5), context=("state",),
    )  # fmt: skip
    write_manifest(folder, manifest)
    return folder


def settings(bundle: Path, delay_ms: float = 0.0, **strategy: object) -> FastConfig:
    return FastConfig.model_validate({"bundle": bundle, "delay_ms": delay_ms, "strategy": strategy})


def test_a_strategy_that_the_bundle_serves_may_start(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "system1")
    for name in ("rtc", "rtc_prefix", "synchronous"):
        require_runnable(settings(bundle, 160.0, name=name))
    with_head = make_bundle(tmp_path / "head", names=("sampler.onnx", "residual.onnx"))
    require_runnable(settings(with_head, residual=True))


def test_what_the_bundle_lacks_is_named_with_the_setting_the_folder_and_a_remedy(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "system1", version=1)
    with pytest.raises(ConfigError) as caught:
        require_runnable(settings(bundle, name="rtc_prefix", residual=True))
    strategy, residual = caught.value.faults
    assert strategy.startswith("fast.strategy.name: 'rtc_prefix' needs prefix of System 1; ")
    assert f"the bundle {bundle} offers sampler, guided" in strategy
    assert "export a bundle that has it, or choose one of synchronous" in strategy
    assert residual.startswith("fast.strategy.residual: expected false, got true: ")
    assert str(bundle) in residual


def test_chunks_that_are_too_short_for_the_delay_are_refused_with_all_that_decides_it(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "system1")
    with pytest.raises(ConfigError) as caught:
        require_runnable(settings(bundle, 200.0, name="rtc"))
    (fault,) = caught.value.faults
    for part in (
        "fast.strategy.name 'rtc', fast.strategy.options.execution_horizon 1, fast.delay_ms 200: infeasible",
        "expected delay of 5 actions",
        "shorten the delay or lower execution_horizon",
        f"{bundle / 'bundle.json'} have 8 actions of 40 ms",
    ):
        assert part in fault
    long = {"execution_horizon": 8}
    with pytest.raises(ConfigError, match=r"options\.execution_horizon 8, .* less than the horizon 8, got 8"):
        require_runnable(settings(bundle, name="rtc", options=long))


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=re.escape(str(tmp_path / "nowhere"))):
        require_runnable(settings(tmp_path / "nowhere"))


@pytest.mark.parametrize("command", ["run", "fast"])
def test_the_command_is_refused_before_anything_is_started_or_written(
    command: str,
    tmp_path: Path,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def start(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("dualsys.supervisor.children.Children.start", start)
    bundle = make_bundle(tmp_path / "system1")
    changed = ["--fast.bundle", str(bundle), "--fast.delay_ms", "300", "--run.folder", str(tmp_path / "runs")]
    assert main([command, str(repository / "configs" / "tabletop.yaml"), *changed]) == 2
    error = capsys.readouterr().err
    assert "fast.delay_ms 300: infeasible" in error
    assert str(bundle) in error
    assert not (tmp_path / "runs").exists()
