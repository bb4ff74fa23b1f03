"""Whatever comes in, hostile plans included, what reaches the robot is within the limits of its profile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS
from dualsys.errors import RobotError
from dualsys.fast.control.core import ControlOutput
from dualsys.fast.control.limiter import SMOOTHINGS, Smoothing
from dualsys.fast.control.limits import Limits
from dualsys.messages import Tensor
from dualsys.robots.contract import ArmReading
from dualsys.robots.profiles import PROFILES, SIMULATED_PANDA_LIMITS

from .conftest import HOME, Rig, obeys

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """An arm at a tick rate."""

    limits: Limits
    period_ns: int
    home: FloatArray


def middle(limits: Limits) -> FloatArray:
    """A pose halfway between the limits."""
    return (limits.lower + limits.upper) / 2


RATES_HZ = {"fr3": 1000, "ur5e": 500, "xarm6": 250, "xarm7": 250, "iiwa14": 200, "so101": 50}
ARMS = {
    "simulated panda, 250 Hz": Arm(SIMULATED_PANDA_LIMITS, 4 * NS_PER_MS, HOME),
    "panda, 1 kHz": Arm(SIMULATED_PANDA_LIMITS, NS_PER_MS, HOME),
    **{
        f"{name}, {rate_hz} Hz": Arm(
            PROFILES[name].limits, 1000 * NS_PER_MS // rate_hz, middle(PROFILES[name].limits)
        )
        for name, rate_hz in RATES_HZ.items()
    },
}

finite = st.floats(allow_nan=False, allow_infinity=False)
plans = st.tuples(
    st.just("plan"),
    st.sampled_from((0.0, 0.02, 0.1, 0.14, 0.3)),  # rad off from where the arm is
    st.sampled_from((0.0, 0.5, 3.0, 30.0)),  # rad/s
    st.sampled_from((1, 40 * NS_PER_MS)),  # ns between knots
    st.integers(0, 2200),  # ms of age of the latent
    st.integers(0, 2**32 - 1),
)
hostile = st.tuples(
    st.just("hostile"),
    st.lists(st.one_of(finite, st.sampled_from((np.nan, np.inf, 1e308, -1e308))), min_size=3, max_size=3),
    st.lists(st.integers(-(2**40), 2**40), min_size=3, max_size=3),
)
ticks = st.tuples(st.just("tick"), st.integers(1, 60))
asked = st.tuples(st.just("ask"), st.sampled_from(("stop", "resume", "new_epoch", "gap", "watchdog")))
spikes = st.tuples(
    st.just("spike"),
    st.sampled_from(("position", "velocity")),
    st.sampled_from((0.06, -0.2, 1.0, -7.0, np.nan, np.inf)),
    st.integers(1, 2),
)
scripts = st.lists(st.one_of(plans, ticks, hostile, asked, spikes), min_size=1, max_size=12)


class Adversary(Rig):
    """Does whatever the script says.

    A gap starts a new list of commands, and so does a stop without any: the arm came to rest meanwhile.
    """

    def __init__(self, arm: Arm, smoothing: Smoothing) -> None:
        super().__init__(limits=arm.limits, period_ns=arm.period_ns, smoothing=smoothing, home=arm.home)
        self.before: list[list[FloatArray]] = []

    def tick(self, count: int = 1, reading: Callable[[], ArmReading] | None = None) -> ControlOutput:
        for _ in range(count - 1):
            self.tick(1, reading)
        left = self.arm
        output = super().tick(1, reading)
        if output.command is None:
            self.before.append(self.commands)
            self.commands = []
        elif len(self.commands) == 1:
            np.testing.assert_array_equal(output.command, left)
        return output

    def plan_at_random(self, offset: float, rate: float, knot_ns: int, age_ms: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        axes = self.limits.axes
        times = self.now_ns + knot_ns * np.arange(12, dtype=np.int64)
        steps = np.cumsum(rng.normal(size=(12, axes)) * rate * min(knot_ns, 10 * NS_PER_MS) * 1e-9, axis=0)
        setpoints = self.arm + offset * rng.uniform(-1, 1, axes) + steps
        self.give(self.plan(t_ns=Tensor.of(times), setpoints=Tensor.of(setpoints), latent_age_ms=age_ms))

    def hostile(self, values: list[float], times: list[int]) -> None:
        setpoints = np.tile(np.array(values)[:, None], (1, self.limits.axes))
        self.give(self.plan(t_ns=Tensor.of(np.array(times) + self.now_ns), setpoints=Tensor.of(setpoints)))

    def spike(self, name: str, by: float, ticks: int) -> None:
        """Readings that are off: fewer in a row than a pose is believed after."""

        def reading() -> ArmReading:
            true = self.reading()
            fields = {"position": true.position, "velocity": true.velocity}
            fields[name] = fields[name] + by
            return ArmReading(true.t_ns, fields["position"], fields["velocity"], true.status)

        self.tick(ticks, reading)

    def ask(self, what: str) -> None:
        if what == "gap":
            self.now_ns += 300 * NS_PER_MS
            self.before.append(self.commands)
            self.commands = []
        elif what == "watchdog":
            self.status = "ok" if self.status == "watchdog" else "watchdog"
        elif what == "stop":
            self.core.request_stop("operator")
        else:
            try:
                if what == "resume":
                    self.core.resume(self.now_ns)
                else:
                    self.core.new_epoch()
            except RobotError:
                self.tick()

    def follow(self, script: list[tuple[object, ...]]) -> None:
        acts = {
            "plan": self.plan_at_random,
            "hostile": self.hostile,
            "ask": self.ask,
            "tick": self.tick,
            "spike": self.spike,
        }
        for name, *arguments in script:
            acts[str(name)](*arguments)  # type: ignore[operator]
            self.tick(4)


@pytest.mark.fault_row(20, 22, 36)
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS.keys())
@settings(max_examples=8)
@given(script=scripts)
def test_no_input_makes_a_command_leave_the_limits(
    arm: Arm, smoothing: Smoothing, script: list[tuple[object, ...]]
) -> None:
    """Commands start at the measured pose; the script has holds, stops, resumes and bad readings as well."""
    rig = Adversary(arm, smoothing)
    rig.tick()
    np.testing.assert_array_equal(rig.commands[0], arm.home)
    rig.follow(script)
    rig.status = "ok"
    rig.core.request_stop("the script is over")
    ticks_to_rest = 10**9 // arm.period_ns
    while rig.tick().command is not None and ticks_to_rest > 0:
        ticks_to_rest -= 1
    assert rig.core.at_rest
    for commands in filter(None, [*rig.before, rig.commands]):
        obeys(arm.limits, commands, arm.period_ns, jerk_slack=1e-3)
