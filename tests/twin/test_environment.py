"""Episodes of an environment under a virtual clock, with a scripted pair that knows the goal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS
from dualsys.config import SystemConfig
from dualsys.errors import ConfigError
from dualsys.fast.policies.policy import Capability
from dualsys.plugins import Option
from dualsys.robots.gymnasium import EnvironmentOptions
from dualsys.slow.backend import System2Output
from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec
from dualsys.twin.environment import EnvironmentResult, evaluate_environment, main, run_environment
from dualsys.twin.evaluate import settings_of
from dualsys.twin.latency import Constant
from dualsys.twin.settings import Parts

pytest.importorskip("gymnasium", reason="needs the extra gymnasium")
sys.path.insert(0, str(Path(__file__).parents[1] / "sim"))
import toy_environment

from dualsys_sim.environment import EnvironmentCore

HORIZON, STEP_M = 16, 0.02
SPECS = SystemSpecs(
    ObservationSpec({"fixed": TensorSpec((8, 24, 3), "uint8")}, TensorSpec((9,), "float32")),
    LatentSpec("latent_sequence", {"tokens": TensorSpec((1, 4), "float32")}),
)
OPTIONS: dict[str, Option] = {
    "environment": "ToyPoint-v0",
    "axes": "x y z gripper_opening",
    "position": "0 1 2",
    "velocity": "3 4 5",
    "scale": "0.05 0.05 0.05",
    "lower": "-0.3 -0.3 0 0",
    "upper": "0.3 0.3 0.3 0.08",
    "speed": "1 1 1 1",
    "acceleration": "20 20 20 20",
    "steps": 100,
    "instruction": "reach the dot",
    "camera.fixed": "offset=3 | offset=7",
    "camera.wrist": "offset=9",
}


class Eye:
    """Puts where the goal is into the latent, unless it is told to stay; it checks the picture."""

    specs, name, weights = SPECS, "eye", "eye"

    def check_instruction(self, text: str) -> None:
        del text

    def encode(
        self, images: Mapping[str, NDArray[np.uint8]], proprioception: NDArray[np.float32], instruction: str
    ) -> System2Output:
        del proprioception
        assert (images["fixed"][0, 0, 2], images["fixed"][0, -1, 2]) == (3, 7)
        there = float(instruction != "stay")
        return System2Output({"tokens": np.array([[*toy_environment.GOAL_M, there]], np.float32)}, "")


class Hand:
    """Goes where the newest latent says."""

    action = ActionSpec(
        "tool_velocity", ("x", "y", "z", "gripper"), HORIZON, 40 * NS_PER_MS, (STEP_M,) * 3 + (1.0,)
    )
    specs, weights, latents, steps = SPECS, "hand", 2, 1
    wrist = TensorSpec((4, 6, 3), "uint8")
    capabilities: frozenset[Capability] = frozenset({"sampler", "guided"})

    def encode_wrist(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert image.shape == (4, 6, 3)
        return np.zeros((1, 4), np.float32)

    def condition(self, tokens: Any, latent_age_s: Any, wrist: Any, proprioception: Any) -> Any:
        del latent_age_s, wrist
        return tokens[0, 0], proprioception[:3] + proprioception[3:6]

    def sample(self, noise: Any, condition: Any) -> NDArray[np.float32]:
        del noise
        latent, command = condition
        chunk = np.ones((HORIZON, 4), np.float32)
        for step in range(HORIZON):
            chunk[step, :3] = latent[3] * np.clip((latent[:3] - command) / STEP_M, -1.0, 1.0)
            command = command + STEP_M * chunk[step, :3]
        return chunk

    def guided(self, noise: Any, condition: Any, previous: Any, weights: Any, guidance: Any) -> Any:
        del guidance
        share = weights[:, None]
        return share * previous + (1.0 - share) * self.sample(noise, condition)


def episode(seed: int, system2_delay_ms: int = 100, instruction: str | None = None) -> EnvironmentResult:
    config = SystemConfig.model_validate(
        {
            "robot": {"driver": "gymnasium", "options": OPTIONS},
            "control": {"rate_hz": 100, "state_rate_hz": 100, "ages": {"reading_hard_ms": 200}},
            "sim": {"watchdog_ms": 200},
            "run": {"task": "reach"},
        }
    )
    settings = settings_of(config, system2_delay=Constant(system2_delay_ms * NS_PER_MS))
    core = EnvironmentCore(EnvironmentOptions.of(OPTIONS), 200 * NS_PER_MS)
    parts = Parts(Eye(), Hand())  # type: ignore[arg-type]
    return run_environment(parts, core, config, settings, seed, instruction)


def test_a_pair_that_knows_the_goal_reaches_it_and_a_slow_system_2_only_takes_longer() -> None:
    soon, late = episode(3), episode(3, system2_delay_ms=400)
    assert soon.success
    assert late.success
    assert soon.steps + 10 <= late.steps


def test_without_a_reason_to_move_the_environment_goes_on_to_its_time_limit() -> None:
    result = episode(3, instruction="stay")
    assert (result.success, result.reason, result.steps) == (False, "timeout", 100)


def test_the_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    assert episode(5) == episode(5)
    assert episode(5).trace_sha256 != episode(6).trace_sha256


@pytest.mark.parametrize(("said", "told"), [("", "'' has no words"), ("juggle", "unknown words: juggle")])
def test_an_instruction_that_is_not_understood_is_refused_before_an_environment_is_made(
    said: str,
    told: str,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def make(*_: object) -> None:
        raise AssertionError("an environment was made")

    monkeypatch.setattr("dualsys_sim.environment.EnvironmentCore", make)
    config = repository / "configs" / "panda_gym_reach.yaml"
    monkeypatch.setattr(sys, "argv", ["environment", str(config), "--instruction", said])
    assert main() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --instruction: ")
    assert f"{told}; known words: " in error


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"slow": {"uplink": "features"}}, "slow.uplink: got 'features', expected 'images'"),
        ({"slow": {"on_demand": {"enabled": True}}}, "slow.on_demand.enabled: got true"),
        ({"line": {"delay_ms": 50}}, "line: got one that is emulated"),
    ],
)
def test_a_setting_that_would_be_left_out_is_refused(changed: dict[str, Any], told: str) -> None:
    config = SystemConfig.model_validate({"robot": {"driver": "gymnasium", "options": OPTIONS}, **changed})
    with pytest.raises(ConfigError, match=told):
        next(evaluate_environment(config, 1, 0))


def test_what_is_no_number_is_told_with_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["environment", "none.yaml", "--episodes", "many"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--episodes: got 'many', expected a whole number" in capsys.readouterr().err


def test_no_episodes_and_a_seed_below_zero_are_refused(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = repository / "configs" / "panda_gym_reach.yaml"
    monkeypatch.setattr(sys, "argv", ["environment", str(config), "--episodes", "0", "--seed", "-1"])
    assert main() == 2
    told = capsys.readouterr().err
    assert "--episodes: got 0, expected at least 1" in told
    assert "--seed: got -1, expected 0 or more" in told


def test_a_fault_is_one_message_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["environment", "none.yaml"])
    assert main() == 2
    assert capsys.readouterr().err.startswith("error: none.yaml: 1 fault\n  cannot be read")
    table = Path(__file__).parents[2] / "configs" / "tabletop.yaml"
    monkeypatch.setattr(sys, "argv", ["environment", str(table)])
    assert main() == 2
    assert "robot.driver: got 'pybullet', expected gymnasium" in capsys.readouterr().err
