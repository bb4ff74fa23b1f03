"""What is shown of a run while it goes, from what its supervisor knows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dualsys.clock import seconds
from dualsys.config import SystemConfig
from dualsys.supervisor.display import milliseconds
from dualsys.supervisor.monitor import Monitor
from dualsys.supervisor.round_trip import RoundTrip
from dualsys.supervisor.summary import RunSummary, emulation_lines
from dualsys.telemetry.live_view import LiveView, ProcessView


@dataclass
class Episode:
    """The episode that is going on."""

    number: int
    seed: int
    instruction: str
    started_ns: int


class Viewer:
    """Makes the views of one run.

    Args:
        config: Its settings.
        processes: Names of its processes, in the order in which they are shown.
        task: What its episodes are called.
        summary: What it has come to so far.
    """

    def __init__(
        self, config: SystemConfig, processes: Sequence[str], task: str, summary: RunSummary
    ) -> None:
        self._config = config
        self._processes = processes
        self._task = task
        self._summary = summary

    def view(
        self,
        now_ns: int,
        monitor: Monitor,
        alive: Collection[str],
        episode: Episode | None,
        round_trip: RoundTrip | None,
    ) -> LiveView:
        """What is to be seen now.

        Args:
            now_ns: The time.
            monitor: What the processes sent.
            alive: Names of the processes that run.
            episode: The one that is going on, if any.
            round_trip: The newest one to System 2.
        """
        config, state, plan = self._config, monitor.state, monitor.plan
        counters = {} if state is None else state.counters
        return LiveView(
            title=f"{config.name}: {self._task}, strategy {config.fast.strategy.name}",
            emulation="\n".join(emulation_lines(config)),
            line=config.line.words(),
            episode="" if episode is None else self._summary.called(episode.number),
            instruction="" if episode is None else episode.instruction,
            elapsed_s=0.0 if episode is None else seconds(now_ns - episode.started_ns),
            processes=self._rows(now_ns, monitor, alive),
            mode="" if state is None else state.mode,
            reason="" if state is None else state.reason,
            latent_age_ms=None if state is None else milliseconds(state.latent_age_ns),
            plan_age_ms=None if state is None else milliseconds(state.plan_age_ns),
            plan_delay_ms=None if plan is None else milliseconds(plan.delay_ns),
            join_rad_s=monitor.last_join_rad_s,
            missed=counters.get("missed", 0),
            ticks=counters.get("ticks", 0),
            successes=self._summary.successes,
            finished=self._summary.finished,
            says="" if monitor.latent is None else monitor.latent.text,
            round_trip="" if round_trip is None else round_trip.words,
            uplink="" if round_trip is None else round_trip.uplink,
        )

    def _rows(self, now_ns: int, monitor: Monitor, alive: Collection[str]) -> tuple[ProcessView, ...]:
        config = self._config

        def process(
            name: str, delivers: str, flow: str, wanted_hz: float | None, note: str = ""
        ) -> ProcessView:
            rate_hz = monitor.flows[flow].per_second(now_ns)
            return ProcessView(name, delivers, rate_hz, wanted_hz, note, name in alive)

        compute_ms = "" if monitor.latent is None else f"computes {monitor.latent.compute_ns / 1e6:.1f} ms"
        rows = {
            "sim": process("sim", "wrist images", "wrist", config.sim.camera_wrist_hz),
            "slow": process("slow", "latents", "latent", config.slow.rate_hz, compute_ms),
            "planner": process("planner", "plans", "plan", config.fast.plan_hz),
            "control": process("control", "states", "state", config.control.state_rate_hz),
        }
        return tuple(row for name, row in rows.items() if name in self._processes)
