"""What can be said of a strategy and a bundle is said before any process is started."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from dualsys.bundles import Manifest, Sampler, hash_files, weights_digest, write_manifest
from dualsys.cli import main
from dualsys.config_fast import FastConfig
from dualsys.errors import BundleError, ConfigError
from dualsys.fast.planner.preflight import require_runnable
from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

SPECS = SystemSpecs(
    ObservationSpec({"fixed": TensorSpec((6, 8, 3), "uint8")}, TensorSpec((9,))),
    LatentSpec("latent_sequence", {"tokens": TensorSpec((2, 3))}),
)
ACTION = ActionSpec("tool_velocity", ("x", "y", "z", "gripper"), 8, 40_000_000, (0.012, 0.012, 0.012, 1.0))


def make_bundle(
    folder: Path, version: int = 2, names: tuple[str, ...] = ("sampler.onnx",), horizon: int = 8
) -> Path:
    """A bundle of chunks of 8 actions of 40 ms, whose graphs are never opened."""
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"a graph")
    files = hash_files(folder, names)
    manifest = Manifest(
        format=version, role="system1", name="short", specs=SPECS, weights=weights_digest(files),
        files=files, action=msgspec.structs.replace(ACTION, horizon=horizon), sampler=Sampler(5),
        context=("state",),
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
        "shorten the delay or choose synchronous",
        f"{bundle / 'bundle.json'} have 8 actions of 40 ms",
    ):
        assert part in fault
    long = {"execution_horizon": 8}
    with pytest.raises(ConfigError, match=r"options\.execution_horizon 8, .* less than the horizon 8, got 8"):
        require_runnable(settings(bundle, name="rtc", options=long))


WITH_WEAK = {"name": "bid", "options": {"nearest": 3}}


def weakened(bundle: Path, weak: Path | None, **strategy: object) -> FastConfig:
    return FastConfig.model_validate({"bundle": bundle, "weak_bundle": weak, "strategy": strategy})


def test_a_weak_bundle_of_the_same_kind_serves_the_strategy_that_draws_from_it(tmp_path: Path) -> None:
    bundle, weak = make_bundle(tmp_path / "system1"), make_bundle(tmp_path / "weak")
    require_runnable(weakened(bundle, weak, **WITH_WEAK))
    require_runnable(weakened(bundle, bundle, **WITH_WEAK))
    with_head = make_bundle(tmp_path / "head", names=("sampler.onnx", "residual.onnx"))
    require_runnable(weakened(with_head, weak, residual=True, **WITH_WEAK))


def test_an_option_that_asks_for_a_weak_policy_is_refused_without_one(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "system1")
    with pytest.raises(ConfigError) as caught:
        require_runnable(weakened(bundle, None, **WITH_WEAK))
    (fault,) = caught.value.faults
    assert fault == (
        "fast.strategy.options.nearest: got 3, expected 0 while fast.weak_bundle is null: 'bid' compares "
        "with samples of a weak policy; set fast.weak_bundle to the folder of a weaker System 1 of the same "
        "kind, or fast.strategy.options.nearest to 0"
    )


def test_a_weak_bundle_of_another_kind_or_damaged_is_refused_by_its_manifest(tmp_path: Path) -> None:
    bundle, weak = make_bundle(tmp_path / "system1"), make_bundle(tmp_path / "weak", horizon=6)
    with pytest.raises(BundleError, match=r"^fast\.weak_bundle: .*: action\.horizon: expected 8, .*got 6"):
        require_runnable(weakened(bundle, weak, **WITH_WEAK))
    (weak / "sampler.onnx").write_bytes(b"another graph")
    with pytest.raises(BundleError, match=r"^fast\.weak_bundle: .*files\.sampler\.onnx: expected SHA-256"):
        require_runnable(weakened(bundle, weak, **WITH_WEAK))


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
    here = ["--fast.bundle", str(bundle), "--run.folder", str(tmp_path / "runs")]

    def refused(*changed: str) -> str:
        assert main([command, str(repository / "configs" / "tabletop.yaml"), *here, *changed]) == 2
        return capsys.readouterr().err

    error = refused("--fast.delay_ms", "300")
    assert "fast.delay_ms 300: infeasible" in error
    assert str(bundle) in error
    bid = ("--fast.strategy.name", "bid", "--fast.strategy.options.nearest", "3")
    assert "fast.strategy.options.nearest: got 3, expected 0 while" in refused(*bid)
    weak = make_bundle(tmp_path / "weak", horizon=6)
    assert "action.horizon: expected 8" in refused(*bid, "--fast.weak_bundle", str(weak))
    assert f"fast.weak_bundle: got '{weak}', expected null" in refused("--fast.weak_bundle", str(weak))
    assert not (tmp_path / "runs").exists()
