"""A planner with a scripted policy and an arm that can be worked out by hand."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from dualsys.clock import NS_PER_MS
from dualsys.fast.chunking.strategy import make_strategy
from dualsys.fast.planner.arm import Kinematics
from dualsys.fast.planner.core import PlannerCore
from dualsys.fast.planner.records import PlanJob, PlannerSettings
from dualsys.fast.policies.policy import Capability
from dualsys.messages import ControlState, LatentPacket, Observation, Plan, Tensor
from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

SESSION = 77
STEP_NS = 40 * NS_PER_MS
HORIZON = 16
START_M = (0.42, 0.0, 0.22)
ACTION = ActionSpec("tool_velocity", ("x", "y", "z", "gripper"), HORIZON, STEP_NS, (0.012, 0.012, 0.012, 1.0))
SPECS = SystemSpecs(
    ObservationSpec({"fixed": TensorSpec((6, 8, 3), "uint8")}, TensorSpec((9,))),
    LatentSpec("latent_sequence", {"tokens": TensorSpec((8, 128))}),
)


class GantryKinematics:
    """Seven axes of which the first three are x, y and z; the others only follow the preferred posture."""

    rest_rad = np.array([0.0, 0.0, 0.0, 0.1, 0.2, 0.3, 0.4])

    def forward(self, q_rad: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        q = np.asarray(q_rad, np.float64)
        return q[..., :3], np.broadcast_to(np.eye(3), (*q.shape[:-1], 3, 3))

    def inverse(
        self,
        position_m: ArrayLike,
        rotation: ArrayLike,
        q_start_rad: ArrayLike,
        rest_rad: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        del rotation, q_start_rad
        position = np.asarray(position_m, np.float64)
        rest = self.rest_rad if rest_rad is None else np.asarray(rest_rad, np.float64)
        q = np.broadcast_to(rest, (len(position), 7)).copy()
        q[:, :3] = np.minimum(position, 0.69)
        return q


@dataclass
class ScriptedPolicy:
    """Returns the chunks it was given, the last one for ever, and remembers what it was asked."""

    chunks: list[NDArray[np.float32]] = field(default_factory=list)
    encoded: list[int] = field(default_factory=list)
    conditions: list[dict[str, NDArray[np.float32]]] = field(default_factory=list)
    guided_with: list[tuple[NDArray[np.float32], ...]] = field(default_factory=list)
    noises: list[NDArray[np.float32]] = field(default_factory=list)
    action: ActionSpec = ACTION
    specs: SystemSpecs = SPECS
    wrist: TensorSpec = field(default_factory=lambda: TensorSpec((4, 4, 3), "uint8"))
    latents: int = 2
    weights: str = "scripted"
    capabilities: frozenset[Capability] = frozenset({"sampler", "guided"})
    steps: int = 5

    def encode_wrist(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.encoded.append(int(image[0, 0, 0]))
        return np.full((16, 128), float(image[0, 0, 0]), np.float32)

    def condition(
        self,
        tokens: NDArray[np.float32],
        latent_age_s: NDArray[np.float32],
        wrist: NDArray[np.float32],
        proprioception: NDArray[np.float32],
    ) -> int:
        self.conditions.append(
            {"tokens": tokens, "age": latent_age_s, "wrist": wrist, "proprioception": proprioception}
        )
        return len(self.conditions)

    def sample(self, noise: NDArray[np.float32], condition: Any) -> NDArray[np.float32]:
        assert condition == len(self.conditions)
        self.noises.append(noise)
        return self.chunks.pop(0) if len(self.chunks) > 1 else self.chunks[0]

    def guided(
        self,
        noise: NDArray[np.float32],
        condition: Any,
        previous: NDArray[np.float32],
        weights: NDArray[np.float32],
        guidance: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        self.guided_with.append((previous, weights, guidance))
        return self.sample(noise, condition)


def moving(x: float, grip: float = 1.0) -> NDArray[np.float32]:
    """A chunk whose actions are all `x` along x."""
    chunk = np.zeros((HORIZON, 4), np.float32)
    chunk[:, 0], chunk[:, 3] = x, grip
    return chunk


def state(t_ns: int, **changes: Any) -> ControlState:
    """An arm at rest at the start pose, in its preferred posture, with an open gripper."""
    pose = (*START_M, 0.1, 0.2, 0.3, 0.4, 0.08)
    known = {
        "session": SESSION,
        "seq": t_ns // (4 * NS_PER_MS),
        "t_ns": t_ns,
        "position": pose,
        "velocity": (0.0,) * 8,
        "command": pose,
        "mode": "RUNNING",
        "reason": "",
        "epoch": 0,
        "plan_seq": -1,
        "latent_age_ns": -1,
        "plan_age_ns": -1,
        "counters": {},
    }
    return ControlState(**(known | changes))


def at_tool(t_ns: int, tool_m: NDArray[np.float64], **changes: Any) -> ControlState:
    """An arm whose tool is, and is commanded to be, somewhere."""
    pose = (*(float(value) for value in tool_m), 0.1, 0.2, 0.3, 0.4, 0.08)
    return state(t_ns, **({"position": pose, "command": pose} | changes))


def answer(observation: Observation, value: float = 0.5, **changes: Any) -> LatentPacket:
    """What System 2 makes of an observation."""
    known = {
        "session": observation.session,
        "episode": observation.episode,
        "seq": observation.seq,
        "observation_seq": observation.seq,
        "t_capture_ns": observation.t_capture_ns,
        "instruction": observation.instruction,
        "compute_ns": 0,
        "weights": "w",
        "kind": "latent_sequence",
        "tensors": {"tokens": Tensor.of(np.full((8, 128), value, np.float32))},
    }
    return LatentPacket(**(known | changes))


FIXED = {"fixed": np.zeros((6, 8, 3), np.uint8)}


class Bench:
    """A planner core with everything it needs within reach."""

    state = staticmethod(state)
    answer = staticmethod(answer)
    fixed: ClassVar = FIXED

    def __init__(
        self,
        strategy: str = "naive_async",
        seed: int = 1,
        kinematics: Kinematics | None = None,
        policy: Any = None,
        settings: PlannerSettings | None = None,
        **options: object,
    ) -> None:
        self.policy = policy or ScriptedPolicy([moving(1.0)])
        chosen = make_strategy(strategy, **options)
        gantry = kinematics or GantryKinematics()
        self.core = PlannerCore(self.policy, chosen, gantry, SESSION, seed, settings)

    def ready(self, now_ns: int, episode: int = 0) -> None:
        """Start an episode, and supply an arm state, a wrist image and a latent of this moment."""
        self.core.start_episode(episode, "pick the red block")
        self.see(now_ns)
        self.latent(now_ns)

    def see(self, now_ns: int, tool_m: NDArray[np.float64] | None = None) -> None:
        """Supply a fresh arm state and wrist image."""
        assert self.core.on_state(state(now_ns) if tool_m is None else at_tool(now_ns, tool_m))
        assert self.core.on_frame("wrist", np.zeros((4, 4, 3), np.uint8), now_ns)

    def latent(self, now_ns: int, value: float = 0.5, act: bool = True) -> None:
        """Send an observation and receive its latent at once."""
        observation = self.core.observation(now_ns, FIXED)
        assert observation is not None
        assert self.core.on_latent(answer(observation, value, act=act))

    def begin(self, now_ns: int) -> PlanJob:
        """Begin a job that must begin."""
        job = self.core.begin(now_ns)
        assert job is not None
        return job

    def plan(self, now_ns: int, delay_ns: int = 0) -> Plan:
        """Run a whole job that must lead to a plan."""
        job = self.begin(now_ns)
        plan = self.core.finish(job, self.core.compute(job), now_ns + delay_ns)
        assert plan is not None
        return plan


@pytest.fixture
def bench() -> Bench:
    """A naive planner, ready at one second."""
    made = Bench()
    made.ready(10**9)
    return made


@pytest.fixture(scope="session")
def make_bench() -> Callable[..., Bench]:
    """Makes planners that are not ready yet."""
    return Bench


@pytest.fixture
def kept_signals() -> Iterator[None]:
    """The process under test handles signals; afterwards they are handled as before."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
