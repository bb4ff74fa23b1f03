"""What can be said of the bundle of System 2 and of the words is said before any process is started."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dualsys.cli import main
from dualsys.config import SlowConfig
from dualsys.errors import BundleError, InstructionError
from dualsys.slow.preflight import require_servable

MakeBundle = Callable[..., Path]


def settings(bundle: Path, uplink: str = "images") -> SlowConfig:
    return SlowConfig.model_validate({"bundle": bundle, "uplink": uplink})


def test_a_bundle_that_knows_the_words_may_be_served(split_bundle: MakeBundle) -> None:
    bundle = split_bundle()
    for uplink in ("images", "features"):
        assert require_servable(settings(bundle, uplink), "Push the red block!").name == "split"
    # What the task will say is not known yet.
    require_servable(settings(bundle), None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lift the block", "unknown words: lift; known words: block, push, red, the"),
        ("  ", "instruction '  ' has no words; known words: block"),
        ("push the red red red block", "instruction has 6 words, at most 5 are understood"),
    ],
)
def test_words_that_are_not_understood_are_told_with_the_setting_and_the_bundle(
    split_bundle: MakeBundle, text: str, told: str
) -> None:
    bundle = split_bundle()
    with pytest.raises(InstructionError) as caught:
        require_servable(settings(bundle), text)
    assert str(caught.value).startswith(f"run.instruction: {told}")
    assert str(bundle / "bundle.json") in str(caught.value)


def test_a_bundle_that_cannot_be_served_is_told_with_the_setting(
    split_bundle: MakeBundle, tmp_path: Path
) -> None:
    with pytest.raises(
        BundleError, match=f"^slow.bundle: {re.escape(str(tmp_path / 'none'))}.*cannot be read"
    ):
        require_servable(settings(tmp_path / "none"), None)
    whole = split_bundle(without=("vision.onnx", "language.onnx"))
    require_servable(settings(whole), None)
    with pytest.raises(BundleError, match=r"^slow\.bundle: .*slow\.uplink: features needs its two halves"):
        require_servable(settings(whole, "features"), None)


@pytest.fixture
def refused(
    tmp_path: Path,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Give a command that must be refused before anything is started or written; returns what was said."""

    def start(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("dualsys.supervisor.children.Children.start", start)
    runs = tmp_path / "runs"

    def refuse(command: str, *changed: str) -> str:
        config = str(repository / "configs" / "tabletop.yaml")
        assert main([command, config, "--run.folder", str(runs), *changed]) == 2
        assert not runs.exists()
        return capsys.readouterr().err

    return refuse


def test_run_is_refused_before_anything_is_started_or_written(
    refused: Callable[..., str], repository: Path, tmp_path: Path, split_bundle: MakeBundle
) -> None:
    pytest.importorskip("pybullet")
    none = refused("run", "--slow.bundle", str(tmp_path / "none"))
    assert none.startswith(f"error: slow.bundle: {tmp_path / 'none' / 'bundle.json'}: cannot be read")
    system1 = str(repository / "bundles/tabletop/system1")
    assert "role: expected 'system2', got 'system1'" in refused("run", "--slow.bundle", system1)
    unknown = refused("run", "--instruction", "juggle the cubes")
    assert unknown.startswith("error: run.instruction: unknown words: juggle")
    other = refused("run", "--slow.bundle", str(split_bundle()))
    assert other.startswith("error: fast.bundle ")
    assert "specs.observation.cameras.fixed.shape differs: ours" in other
    assert "use two bundles that were trained together" in other


def test_the_edge_needs_the_bundle_of_system_2_only_for_its_vision_tower(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    none = ("--slow.bundle", str(tmp_path / "none"))
    assert "slow.bundle" in refused("fast", *none, "--slow.uplink", "features")
    # What is refused here is the delay, and not the bundle that this machine need not have.
    assert "infeasible" in refused("fast", *none, "--fast.delay_ms", "450")
    with pytest.raises(AssertionError, match="a process was started"):
        refused("fast", *none)
