"""The planner loop: `take in -> finish -> begin -> observe -> answer -> pace`, in one thread.

The loop wakes several times per plan, so that whatever arrives is stamped within a few milliseconds, and an
emulated delay of System 1 holds up nothing else.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dualsys.bus.status import flat
from dualsys.cameras.feed import Feed
from dualsys.clock import NS_PER_MS, Clock, Pacer
from dualsys.errors import DualsysError
from dualsys.fast.planner.cadence import Cadence
from dualsys.fast.planner.connections import Connection, SlowConnection, epoch_in
from dualsys.fast.planner.contact import Answer
from dualsys.fast.planner.core import PlannerCore
from dualsys.fast.planner.demand import Demand
from dualsys.fast.planner.desk import Asker, Desk, Service
from dualsys.fast.planner.records import PlanJob, PlannerSettings
from dualsys.fast.planner.sight import ImageSight, Sight
from dualsys.fast.planner.track import ActionArray
from dualsys.fast.planner.trips import Trips
from dualsys.fast.planner.uplink import Uplink
from dualsys.messages import ControlState, LatentPacket, Message, Plan

WAKE_NS = 5 * NS_PER_MS
"""Longest time between two wake-ups."""

M_co = TypeVar("M_co", bound=Message, covariant=True)


class Source(Protocol[M_co]):
    """Where messages come from."""

    def receive(self) -> M_co | None:
        """The newest message since the last call, or None. Never blocks."""
        ...


class Sink(Protocol):
    """Where messages go."""

    def send(self, message: Message) -> None:
        """Publish. Never blocks."""
        ...


class Peer(Asker, Protocol):
    """Another process; see `Contact`."""

    def greet(self) -> None:
        """Shake hands. Never blocks."""
        ...

    def answers(self) -> list[Answer]:
        """What has come of handshakes and questions. Never blocks."""
        ...


@dataclass(frozen=True)
class Wiring:
    """Everything that the loop is connected to.

    Attributes:
        latents: From System 2.
        states: From control.
        cameras: Connected, by name: `wrist`, and what System 2 is shown.
        observations: To System 2.
        plans: To control.
        service: Requests to the planner.
        slow: Questions to System 2.
        control: Questions to control.
    """

    latents: Source[LatentPacket]
    states: Source[ControlState]
    cameras: Mapping[str, Feed]
    observations: Sink
    plans: Sink
    service: Service
    slow: Peer
    control: Peer


@dataclass(frozen=True)
class Rhythm:
    """When things happen, ns.

    Attributes:
        plan_ns: Time between the starts of two plan jobs.
        observation_ns: Time between two observations for System 2.
        delay_ns: Emulated extra time that a plan takes.
        silence_ns: Time without a latent after which System 2 is taken for lost.
    """

    plan_ns: int
    observation_ns: int
    delay_ns: int
    silence_ns: int

    @property
    def wake_ns(self) -> int:
        """Time between two wake-ups: a whole fraction of the time between two jobs."""
        return self.plan_ns // -(-self.plan_ns // WAKE_NS)


@dataclass(frozen=True)
class LoopStatistics:
    """Totals of the loop.

    Attributes:
        wakes: Wake-ups.
        missed: Wake-ups skipped because one before took too long.
        images_rejected: Camera frames that are old, or no image of the stated size.
        latents_dropped: Latents from a System 2 that hands were not shaken with.
    """

    wakes: int
    missed: int
    images_rejected: int
    latents_dropped: int


class PlannerLoop:
    """Runs a planner core until it is told to end.

    Args:
        core: Decides.
        wiring: What it is connected to.
        rhythm: When things happen.
        clock: Where time comes from.
        session: Random number of this run.
        details: What to tell about this process.
        uplink: Paces observations; None: as the rhythm says.
        demand: Holds back observations that System 2 need not see; None: it sees all of them.
        sight: Makes of camera images what System 2 is shown; by default images are.
    """

    def __init__(
        self,
        core: PlannerCore,
        wiring: Wiring,
        rhythm: Rhythm,
        clock: Clock,
        session: int,
        details: Mapping[str, str],
        uplink: Uplink | None = None,
        demand: Demand | None = None,
        sight: Sight | None = None,
    ) -> None:
        self._core = core
        self._sight: Sight = sight or ImageSight()
        self._wiring = wiring
        self._rhythm = rhythm
        self._clock = clock
        self._session = session
        self._slow = SlowConnection(rhythm.silence_ns)
        self._control = Connection()
        self._trips = Trips()
        self._met_control_ns = 0
        self._desk = Desk(core, wiring.service, wiring.slow, details, self.status)
        start_ns = clock.now_ns()
        self._plan_cadence = Cadence(rhythm.plan_ns, start_ns)
        self._uplink = uplink or Uplink(rhythm.observation_ns, PlannerSettings().jpeg_quality, start_ns)
        self._demand = demand
        self._computed: tuple[PlanJob, ActionArray, int] | None = None
        self._images: dict[str, tuple[NDArray[np.uint8], int]] = {}
        self._judged_ns = -1
        self._episode, self._began_ns = core.episode, start_ns
        self._wakes = 0
        self._missed = 0
        self._end_asked = False

    def ask_to_end(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Return from `run`. Also a signal handler; a second signal ends the process at once."""
        del frame
        if self._end_asked and number:
            raise KeyboardInterrupt
        self._end_asked = True

    def handle_signals(self) -> None:
        """Let SIGINT and SIGTERM ask for the end."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.ask_to_end)

    def run(self) -> None:
        """Wake up until the end is asked for.

        Raises:
            MismatchError: System 2 does not fit System 1.
        """
        pacer = Pacer(self._clock, self._rhythm.wake_ns)
        while not self._end_asked:
            self._missed += pacer.wait().missed
            self.wake()

    def wake(self) -> None:
        """Do everything that is due now."""
        self._wakes += 1
        self._keep_in_touch(self._clock.now_ns())
        self._desk.serve()
        self._notice_episode(self._clock.now_ns())
        self._take_in(self._clock.now_ns())
        self._finish()
        now_ns = self._clock.now_ns()
        if self._uplink.due(now_ns):
            self._look()
        self._observe()
        if self._plan_cadence.due(now_ns):
            self._plan(now_ns)

    def statistics(self) -> LoopStatistics:
        """Totals since the start."""
        rejected = sum(feed.rejected for feed in self._wiring.cameras.values())
        return LoopStatistics(self._wakes, self._missed, rejected, self._slow.dropped)

    def status(self) -> dict[str, str]:
        """Everything that there is to tell, by name."""
        core = self._core
        return flat(
            {
                "planner": {
                    "session": self._session,
                    "episode": core.episode,
                    "epoch": core.epoch,
                    "instruction": core.instruction,
                },
                "core": core.statistics(),
                "loop": self.statistics(),
                "slow": self._slow.connection.statistics(),
                "sight": self._sight.statistics(),
                "trip": self._trips.statistics(),
                "uplink": self._uplink.statistics(),
                "demand": {} if self._demand is None else self._demand.statistics(),
                "control": self._control.statistics(),
                "camera": {name: feed.statistics() for name, feed in self._wiring.cameras.items()},
            }
        )

    def _keep_in_touch(self, now_ns: int) -> None:
        """Shake hands where hands are not shaken, and hear what others have answered."""
        if self._slow.connection.wants_greeting(now_ns):
            self._wiring.slow.greet()
        if self._control.wants_greeting(now_ns):
            self._wiring.control.greet()
        for answer in self._wiring.slow.answers():
            if answer.question is not None:
                self._desk.checked(answer)
            elif answer.welcome is not None:
                self._slow.welcomed(answer.welcome)
            elif answer.error is not None:
                self._slow.connection.failed(answer.error)
        for answer in self._wiring.control.answers():
            self._hear_control(answer, now_ns)

    def _hear_control(self, answer: Answer, now_ns: int) -> None:
        try:
            if answer.error is not None:
                raise answer.error
            if answer.welcome is not None:
                self._core.adopt_epoch(epoch_in(answer.welcome))
                self._control.welcomed()
                self._met_control_ns = now_ns
        except DualsysError as error:
            self._control.failed(error)

    def _take_in(self, now_ns: int) -> None:
        """Hand what has arrived to the core."""
        state = self._wiring.states.receive()
        if state is not None:
            strange = state.session != self._session and state.t_ns > self._met_control_ns
            if strange and self._control.connected:
                self._control.lost(f"control follows session {state.session}")
                # What was planned is void, whoever leads the arm now.
                self._core.adopt_epoch(self._core.epoch)
            self._core.on_state(state)
        for name, feed in self._wiring.cameras.items():
            frame = feed.read()
            if frame is not None:
                if name == "wrist":
                    self._core.on_frame(name, frame.image, frame.t_ns)
                self._images[name] = (frame.image, frame.t_ns)
        packet = self._wiring.latents.receive()
        if packet is not None and self._slow.admits(packet):
            self._core.on_latent(packet)
            if packet.session == self._session:
                self._trips.answered(packet, now_ns)
                self._uplink.answered(packet, now_ns, self._trips.clock_steps)
        self._slow.watch(now_ns)

    def _notice_episode(self, now_ns: int) -> None:
        """Note when an episode begins: what was seen before shows the scene of another one."""
        if self._core.episode != self._episode:
            self._episode, self._began_ns = self._core.episode, now_ns

    def _look(self) -> None:
        """Look at the newest images for System 2, at each at most once."""
        cameras = self._core.observed_cameras
        if not self._core.observing or not all(name in self._images for name in cameras):
            return
        captured_ns = min(self._images[name][1] for name in cameras)
        if captured_ns <= self._judged_ns or captured_ns < self._began_ns:
            return
        self._judged_ns = captured_ns
        images = {name: self._images[name][0] for name in cameras}
        if self._demand is not None:
            situation = self._core.situation(captured_ns, images)
            if situation is not None and not self._demand.judge(situation).ask:
                self._uplink.spared()
                return
        self._sight.look(images, captured_ns)

    def _observe(self) -> None:
        """Show System 2 what was seen last, if that is new."""
        seen = self._sight.seen()
        if seen is None or seen.t_ns < self._began_ns:
            return
        observation = self._core.observation(seen.t_ns, seen.shown, self._uplink.jpeg_quality)
        if observation is not None:
            self._wiring.observations.send(observation)
            now_ns = self._clock.now_ns()
            self._slow.sent(now_ns)
            self._trips.sent(observation.seq, now_ns)
            self._uplink.sent(observation, now_ns)

    def _plan(self, now_ns: int) -> None:
        """Begin a job and compute it."""
        job = self._core.begin(now_ns)
        if job is None:
            self._send(self._core.repeat(now_ns))
            return
        try:
            chunk = self._core.compute(job)
        except DualsysError as error:
            self._core.abandon(job, str(error))
            return
        self._computed = (job, chunk, self._clock.now_ns() + self._rhythm.delay_ns)
        self._finish()

    def _finish(self) -> None:
        """Publish the plan of the computed job, once its emulated delay is over."""
        now_ns = self._clock.now_ns()
        if self._computed is None or now_ns < self._computed[2]:
            return
        job, chunk, _ = self._computed
        self._computed = None
        self._send(self._core.finish(job, chunk, now_ns))

    def _send(self, plan: Plan | None) -> None:
        if plan is not None:
            self._wiring.plans.send(plan)
