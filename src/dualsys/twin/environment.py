"""Episodes of a Gymnasium environment under a virtual clock: `python -m dualsys.twin.environment CONFIG`.

The same cores that run live, an environment of the driver `gymnasium` for a world, and its own judgement.
While a system computes, the environment is stepped on. The same seed gives the same trace, to the bit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

from dualsys.cameras.fitting import Fit
from dualsys.clock import NS_PER_MS, NS_PER_S, period_ns
from dualsys.command_line import read
from dualsys.config import SystemConfig, load_config
from dualsys.errors import ConfigError, DualsysError, InstructionError
from dualsys.messages import ArmCommand, ArmState
from dualsys.robots.contract import ArmReading
from dualsys.robots.gymnasium import EnvironmentOptions, geometry_of
from dualsys.slow.core import SlowCore
from dualsys.telemetry.files import replace_file, require_writable
from dualsys.twin.edge import Edge
from dualsys.twin.evaluate import settings_of
from dualsys.twin.pool import Bundles
from dualsys.twin.schedule import ARRIVE, CONTROL, LOOK, MOVE, PLAN, EventSchedule, on_grid_ns
from dualsys.twin.settings import Parts, TwinSettings
from dualsys.twin.trace import Trace

if TYPE_CHECKING:
    from dualsys_sim.environment import EnvironmentCore


@dataclass(frozen=True)
class EnvironmentResult:
    """One episode.

    Attributes:
        seed: Of the reset.
        success: What the environment says of itself.
        reason: Why it ended otherwise.
        steps: Of the environment.
        duration_s: Simulated time.
        counters: Named totals of control and planner.
        trace_sha256: Digest of every command and event.
    """

    seed: int
    success: bool
    reason: str
    steps: int
    duration_s: float
    counters: dict[str, int]
    trace_sha256: str


def run_environment(
    parts: Parts,
    core: EnvironmentCore,
    config: SystemConfig,
    settings: TwinSettings,
    seed: int,
    instruction: str | None = None,
) -> EnvironmentResult:
    """Run one episode from its reset to its verdict.

    Args:
        parts: The two systems; their cameras are those of the environment.
        core: Reset by this call; its episodes need a time limit.
        config: Rates and limits of control, and what the environment is.
        settings: Everything about time.
        seed: Of the environment, and of all noise.
        instruction: Other words than the task's; the environment judges alike.
    """
    return _Run(parts, core, config, settings, seed, instruction).result()


class _Run:
    """The state of one episode."""

    def __init__(
        self,
        parts: Parts,
        core: EnvironmentCore,
        config: SystemConfig,
        settings: TwinSettings,
        seed: int,
        instruction: str | None,
    ) -> None:
        self._parts, self._core, self._settings, self._seed = parts, core, settings, seed
        self._slow = SlowCore(parts.system2, settings.latent_codec)
        self._tick_ns = period_ns(config.control.rate_hz)
        self._schedule, self._trace = EventSchedule(), Trace()
        system1_delays, self._system2_delays = (np.random.default_rng([seed, number]) for number in (1, 2))
        self._edge = Edge(
            parts,
            settings,
            geometry_of(config.robot.options),
            core.spec.limits,
            seed=seed,
            tick_ns=self._tick_ns,
            delays=system1_delays,
            schedule=self._schedule,
            trace=self._trace,
        )
        self._planner, self._control = self._edge.planner, self._edge.control
        self._reading: ArmReading | None = None
        self._fits: dict[str, Fit] = {}
        self._verdict: dict[str, str] = {}
        words = {} if instruction is None else {"instruction": instruction}
        scene = core.reset({"task": config.run.task, "seed": str(seed), **words})
        self._began_ns = core.time_ns
        self._planner.start_episode(0, scene["instruction"])
        self._trace.event(0, "reset", scene["instruction"])
        self._schedule.at(0, MOVE, self._move)
        self._schedule.at(0, CONTROL, self._act)
        self._schedule.at(0, LOOK, self._look)
        self._observations = self._times_of_observations()
        self._await_observation()
        self._schedule.at(0, PLAN, self._edge.plan)

    def result(self) -> EnvironmentResult:
        while not self._verdict:
            self._schedule.run(self._schedule.now_ns + NS_PER_S)
        verdict = self._verdict
        self._trace.event(self._schedule.now_ns, "verdict", f"{verdict['verdict']} {verdict['reason']}")
        return EnvironmentResult(
            seed=self._seed,
            success=verdict["verdict"] == "success",
            reason=verdict["reason"],
            steps=int(verdict["metrics.steps"]),
            duration_s=self._core.episode_s,
            counters=self._edge.counters(),
            trace_sha256=self._trace.hexdigest(),
        )

    def _move(self, now_ns: int) -> None:
        """One step of the environment."""
        state: ArmState = self._core.tick()
        self._reading = ArmReading(
            now_ns, np.array(state.position), np.array(state.velocity), state.status, state.detail
        )
        verdict = self._core.verdict()
        if verdict["verdict"]:
            self._verdict = verdict
            self._schedule.stop()
            return
        self._schedule.at(now_ns + self._core.tick_ns, MOVE, self._move)

    def _act(self, now_ns: int) -> None:
        """One tick of control, on the newest reading."""
        assert self._reading is not None
        output = self._control.step(now_ns, self._reading)
        self._trace.command(now_ns, output.command)
        if output.command is not None:
            command = tuple(output.command.tolist())
            self._core.on_command(ArmCommand(seq=now_ns // self._tick_ns, position=command))
        self._edge.note(output.state)
        repeated = self._planner.repeat(now_ns)
        if repeated is not None:
            self._control.on_plan(repeated, now_ns)
        self._schedule.at(now_ns + self._tick_ns, CONTROL, self._act)

    def _picture(self, camera: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """What a camera sees, in the size that the models want."""
        picture = self._core.picture(camera)
        if camera not in self._fits:
            height, width = picture.shape[:2]
            self._fits[camera] = Fit(width, height, shape[1], shape[0], None)
        return self._fits[camera](picture)

    def _look(self, now_ns: int) -> None:
        self._planner.on_frame("wrist", self._picture("wrist", self._parts.system1.wrist.shape), now_ns)
        due_ns = now_ns + period_ns(self._settings.wrist_rate_hz)
        self._schedule.at(on_grid_ns(due_ns, self._tick_ns), LOOK, self._look)

    def _times_of_observations(self) -> Iterator[int]:
        every_ns = period_ns(min(self._settings.observation_rate_hz, self._settings.system2_rate_hz))
        number = 0
        while True:
            yield on_grid_ns(number * every_ns, self._tick_ns)
            number += 1

    def _await_observation(self) -> None:
        self._schedule.at(next(self._observations), LOOK, self._observe)

    def _observe(self, now_ns: int) -> None:
        """Show System 2 the scene; what it makes of it arrives after its delay."""
        self._edge.tell_planner()
        cameras = self._parts.system2.specs.observation.cameras
        images = {name: self._picture(name, spec.shape) for name, spec in cameras.items()}
        observation = self._planner.observation(now_ns, images)
        if observation is not None:
            packet = self._slow.process(observation)
            arrival_ns = now_ns + self._settings.system2_delay.draw_ns(self._system2_delays)
            self._schedule.at(arrival_ns, ARRIVE, lambda at_ns: self._edge.receive(at_ns, packet))
        self._await_observation()


def evaluate_environment(
    config: SystemConfig, episodes: int, seed: int, instruction: str | None = None
) -> Iterator[EnvironmentResult]:
    """Episodes of counting seeds with the bundles of a configuration.

    Raises:
        ConfigError: The options do not fit the environment, it has no time limit, or something is set that
            only the twin of the table has.
        BundleError: A bundle cannot be loaded.
        InstructionError: System 2 does not understand the instruction.
    """
    from dualsys_sim.environment import EnvironmentCore

    _refuse_left_out(config)
    settings = settings_of(config)
    parts = Bundles(config.fast.bundle, config.slow.bundle, weak=config.fast.weak_bundle).load()
    if instruction is not None:
        try:
            parts.system2.check_instruction(instruction)
        except InstructionError as error:
            raise InstructionError(f"--instruction: {error}") from error
    watchdog_ns = round(config.sim.watchdog_ms * NS_PER_MS)
    core = EnvironmentCore(EnvironmentOptions.of(config.robot.options), watchdog_ns)
    try:
        for number in range(seed, seed + episodes):
            yield run_environment(parts, core, config, settings, number, instruction)
    finally:
        core.close()


def _refuse_left_out(config: SystemConfig) -> None:
    """Raise ConfigError for what this twin leaves out: System 2 is always asked, and with images."""
    slow = config.slow
    faults = []
    if slow.uplink != "images":
        faults.append(f"slow.uplink: got {slow.uplink!r}, expected 'images'")
    if slow.on_demand.enabled:
        faults.append("slow.on_demand.enabled: got true, expected false")
    if config.line.emulated:
        faults.append("line: got one that is emulated, expected none; slow.delay_ms can stand for it")
    if faults:
        raise ConfigError("the twin of an environment", faults)


@dataclass(frozen=True)
class Arguments:
    """What to run.

    Attributes:
        config: YAML of a system whose driver is `gymnasium`.
        episodes: How many.
        seed: Of the first one.
        instruction: Other words than the task's.
        bundles: Folder with `system1` and `system2` in place of those of the configuration.
        json: File for all results.
    """

    config: Annotated[Path, tyro.conf.Positional]
    episodes: int = 100
    seed: int = 10_000_000
    instruction: str | None = None
    bundles: Path | None = None
    json: Path | None = None


def main() -> int:
    """Run the episodes of the command line and tell how many succeeded.

    Returns:
        Exit code: 0, 2 after a fault that was printed, 130 stopped by Ctrl-C.
    """
    given = read(Arguments, description=__doc__)
    try:
        _evaluate(given)
    except DualsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _evaluate(given: Arguments) -> None:
    places = {f"{owner}.bundle": str(given.bundles / system) for owner, system in
              (("slow", "system2"), ("fast", "system1"))} if given.bundles else {}  # fmt: skip
    config = load_config(given.config, places)
    faults = [] if given.episodes >= 1 else [f"--episodes: got {given.episodes}, expected at least 1"]
    faults += [] if given.seed >= 0 else [f"--seed: got {given.seed}, expected 0 or more"]
    if faults:
        raise ConfigError("command line", faults)
    if config.robot.driver != "gymnasium":
        fault = f"robot.driver: got {config.robot.driver!r}, expected gymnasium"
        raise ConfigError(str(given.config), [f"{fault}; the twin of the simulated table is `dualsys twin`"])
    if given.json is not None:
        require_writable(given.json, "--json")
    results = []
    for result in evaluate_environment(config, given.episodes, given.seed, given.instruction):
        results.append(result)
        good = sum(one.success for one in results)
        word = "success" if result.success else result.reason
        print(
            f"seed {result.seed}: {word} after {result.duration_s:.2f} s; {good} of {len(results)}",
            flush=True,
        )
    if given.json is not None:
        replace_file(given.json, json.dumps([asdict(one) for one in results], indent=1).encode())


if __name__ == "__main__":
    sys.exit(main())
