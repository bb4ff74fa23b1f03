"""One run from start to summary: processes up, episodes, processes down, folder complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS, Pacer, WallClock, nanoseconds, seconds
from dualsys.config import SystemConfig
from dualsys.config_line import with_script_in
from dualsys.errors import BusError, DualsysError, PeerTimeoutError, RobotError
from dualsys.recorder.extra import PROCESS as RECORDER
from dualsys.recorder.extra import closing_line, recorded_to
from dualsys.recorder.tap import open_tap
from dualsys.robots.registry import driver_named
from dualsys.supervisor.addresses import require_free
from dualsys.supervisor.children import Children, Ending, ProcessEndedError
from dualsys.supervisor.display import Display
from dualsys.supervisor.interrupts import InterruptedRunError, Interrupts
from dualsys.supervisor.line import addresses_of
from dualsys.supervisor.monitor import Monitor
from dualsys.supervisor.peers import Peer, open_peers
from dualsys.supervisor.processes import LEADS_TO_SYSTEM2, processes_of
from dualsys.supervisor.round_trip import RoundTrip
from dualsys.supervisor.scenes import FoundScenes, Scenes, SimulatedScenes
from dualsys.supervisor.silence import PERIOD_NS, Silence
from dualsys.supervisor.summary import EpisodeResult, RunSummary, emulation_lines
from dualsys.supervisor.view import Episode, Viewer
from dualsys.telemetry.recorder import Recorder
from dualsys.telemetry.report import build_report
from dualsys.telemetry.run_folder import RunFolder

_STATUS_EVERY = 5
_SUMMARY_EVERY = 50
_STOP_GRACE_S = 3.0
_BUSY_GRACE_S = 1.0
_LAST_ANSWER_S = 0.5

ProcessCommand = Callable[[str, Path], Sequence[str]]
"""From the name of a process and the configuration to its command line."""


class Run:
    """Runs a system.

    Args:
        config: What to run.
        console: Where it is shown.
        command: How each process is started.
        seeds: Seed of each episode; by default they count up from `run.seed`.

    Attributes:
        folder: What it leaves behind.

    Raises:
        AddressInUseError: Another run is going on at the same addresses.
        ConfigError: The run folder cannot be made, or nothing says what to tell an arm that is not simulated.
        RobotError: The driver cannot be loaded.
    """

    def __init__(
        self,
        config: SystemConfig,
        console: Console,
        command: ProcessCommand,
        seeds: Sequence[int] | None = None,
    ) -> None:
        self._simulated = driver_named(config.robot.driver).simulated
        self._found = None if self._simulated else FoundScenes(config.run)
        # Before anything connects to these addresses: a connection to a probe is not made again.
        require_free(config.addresses(), config.protection())
        if config.line.emulated:
            addresses_of("endpoints.slow", config.endpoints.slow)
        self._config = config
        self._command = command
        self._seeds = (
            range(config.run.seed, config.run.seed + config.run.episodes) if seeds is None else seeds
        )
        self._clock = WallClock()
        self.folder = RunFolder.create(config.run.folder, config.name)
        self._config = config = with_script_in(recorded_to(config, self.folder.path), self.folder.path)
        self._processes = processes_of(config, self._simulated)
        self._config_path = self.folder.write_text("config.yaml", config.to_yaml())
        self._recorder = Recorder(self.folder)
        self._summary = RunSummary(config, self._clock.now_ns())
        self._children = Children(self._clock)
        self._interrupts = Interrupts(self._children.kill)
        self._display = Display(console)
        self._viewer = Viewer(config, self._processes, self._task, self._summary)
        self._episode: Episode | None = None
        self._round_trip: RoundTrip | None = None
        self._silence: Silence | None = None
        self._hung: set[str] = set()
        self._busy: set[str] = set()
        self._welcomed: set[str] = set()
        self._lost: tuple[DualsysError, int] | None = None
        self._count = 0

    def execute(self) -> RunSummary:
        """Run all episodes, then build the report. Ctrl-C ends it early, with all that was recorded.

        Returns:
            What it came to. A fault of the system is in `state` and `problem`, not an exception.
        """
        context = open_context(self._config.protection())
        self._recorder.tap = open_tap(context, self._config, "supervisor", self._clock)
        monitor = Monitor(context, self._config, self._recorder)
        peers = open_peers(context, self._config)
        self._silence = Silence(context, peers, self._config.endpoints.control.state)
        self._round_trip = RoundTrip(peers["planner"])
        self._recorder.event(self._now(), "run", name=self._config.name, config=str(self._config_path))
        try:
            with self._interrupts:
                with self._display:
                    self._go(monitor, peers)
                self._finish(monitor)
        finally:
            self._children.kill()
            monitor.close()
            self._silence.close()
            for peer in peers.values():
                peer.close()
            close_context(context)
            self._recorder.close()
        return self._summary

    def _go(self, monitor: Monitor, peers: dict[str, Peer]) -> None:
        summary = self._summary
        try:
            self._start(peers)
            summary.state = "running"
            pacer = Pacer(self._clock, PERIOD_NS)
            scenes = self._found or SimulatedScenes(peers["sim"], self._config.run)
            for number, seed in enumerate(self._seeds):
                self._wait_for_resume(monitor, peers, pacer)
                self._begin(number, seed, scenes, monitor, peers)
                self._follow(scenes, monitor, peers, pacer)
            summary.state = "finished"
        except InterruptedRunError as error:
            summary.state, summary.problem = "interrupted", str(error)
        except (DualsysError, OSError) as error:
            # A silent peer is often one that has just ended: then how it ended is what matters.
            endings = self._children.ended()
            for ending in endings:
                self._note(ending)
            reasons = [*(ending.describe() for ending in endings), str(error)]
            summary.state, summary.problem = "failed", "\n".join(reasons)
            self._take_in(monitor)
        if self._episode is not None:
            first_line = summary.problem.split("; its log")[0].splitlines()[0]
            self._end(success=False, reason=first_line, judged=False)
        self._stop(peers)

    def _start(self, peers: dict[str, Peer]) -> None:
        self._display.say(f"run folder {self.folder.path}")
        for words in emulation_lines(self._config):
            self._display.say(words)
        deadline_ns = self._now() + nanoseconds(self._config.run.startup_timeout_s)
        for name in self._processes:
            pid = self._children.start(name, self._command(name, self._config_path), self.folder.log(name))
            self._recorder.event(self._now(), "process", name=name, pid=pid)
        waiting = dict(peers)
        while waiting:
            for name, peer in list(waiting.items()):
                self._check_children()
                if (welcome := peer.knock(self._children.pid(name))) is not None:
                    self._summary.peers[name] = dict(welcome.details)
                    self._welcomed.add(name)
                    del waiting[name]
            if waiting and self._now() > deadline_ns:
                peer = next(iter(waiting.values()))
                raise PeerTimeoutError(peer.name, peer.endpoint, self._config.run.startup_timeout_s)

    def _wait_for_resume(self, monitor: Monitor, peers: dict[str, Peer], pacer: Pacer) -> None:
        """A stop latches: the next episode waits for somebody to resume the arm.

        After an operator's stop that is a person. After a fault of a simulated arm, whose world is about to
        be built anew, it is the supervisor; a real arm always waits for a person, and in a hold too.
        """
        patience_s = self._config.run.stopped_timeout_s
        deadline_ns = self._now() + nanoseconds(patience_s)
        monitor.poll(self._now())
        state = monitor.state
        latched = ("STOPPED",) if self._simulated else ("STOPPED", "HOLDING")
        if state is None or state.mode not in latched:
            return
        by_itself = self._simulated and "operator" not in state.reason
        self._recorder.event(self._now(), "stopped", reason=state.reason, resumed_by_supervisor=by_itself)
        if not by_itself:
            self._display.say(f"the arm is {state.mode} ({state.reason}): `dualsys robot resume` goes on")
        while monitor.state is not None and monitor.state.mode in latched:
            if self._now() > deadline_ns:
                raise RobotError(
                    f"the arm is {state.mode} ({state.reason}) and was not resumed within {patience_s:g} s"
                )
            if by_itself and self._count % _STATUS_EVERY == 0:
                self._try_to_resume(peers)
            self._watch(monitor, pacer)

    def _try_to_resume(self, peers: dict[str, Peer]) -> None:
        try:
            peers["control"].ask("resume")
        except BusError as error:
            self._display.say(str(error))

    def _begin(
        self, number: int, seed: int, scenes: Scenes, monitor: Monitor, peers: dict[str, Peer]
    ) -> None:
        """Rest the arm, make the scene, tell the planner: no plan of the episode before is followed."""
        if self._lost is not None:
            # The episode before had its verdict in time; there is no System 2 for another one.
            raise self._lost[0]
        peers["planner"].ask("end_episode")
        epoch = peers["control"].ask("new_epoch").get("epoch", "")
        try:
            # The one wait of many seconds in which nothing else is looked at.
            with self._interrupts.breaking_off():
                scene = scenes.begin(seed)
        except InterruptedRunError:
            self._busy.add("sim")
            raise
        instruction = scene.instruction
        peers["slow"].ask("check", {"instruction": instruction})
        begin = {"episode": str(number), "instruction": instruction, "epoch": epoch}
        peers["planner"].ask("start_episode", begin)
        self._episode = Episode(number, seed, instruction, self._now())
        # What was on its way still shows the world before: it is recorded ahead of the episode.
        monitor.poll(self._now())
        if not scene.judged:
            self._display.say(f"nobody judges {instruction!r} in this scene: the episode will not count")
        self._recorder.event(
            self._now(), "episode", episode=number, task=self._task, seed=seed, instruction=instruction
        )

    def _follow(self, scenes: Scenes, monitor: Monitor, peers: dict[str, Peer], pacer: Pacer) -> None:
        """Watch the episode until it ends."""
        while self._episode is not None:
            self._watch(monitor, pacer)
            if self._count % _STATUS_EVERY == 0:
                self._ask_judge(scenes, peers)

    def _watch(self, monitor: Monitor, pacer: Pacer) -> None:
        """One turn: take in what has arrived, write it down, show it, wait for the next."""
        self._check_children()
        now_ns = self._take_in(monitor)
        self._check_silence(monitor)
        self._check_hold(monitor, now_ns)
        self._count += 1
        if self._count % _SUMMARY_EVERY == 0:
            self._write_summary(monitor)
        if self._display.due(now_ns):
            if self._round_trip is not None:
                self._round_trip.look(now_ns)
            alive, episode = self._children.names, self._episode
            self._display.show(now_ns, self._viewer.view(now_ns, monitor, alive, episode, self._round_trip))
        pacer.wait()

    def _take_in(self, monitor: Monitor) -> int:
        """Take in what has arrived, and note when the arm came to rest; returns the time."""
        now_ns = self._now()
        monitor.poll(now_ns)
        if monitor.state is not None:
            self._summary.halts.look(monitor.state, None if self._episode is None else self._episode.number)
        return now_ns

    def _ask_judge(self, scenes: Scenes, peers: dict[str, Peer]) -> None:
        episode = self._episode
        if episode is None:
            return
        judgement = scenes.judge()
        said = judgement.instruction
        if said and said != episode.instruction:
            peers["slow"].ask("check", {"instruction": said})
            peers["planner"].ask("say", {"text": said})
            episode.instruction = said
            self._recorder.event(self._now(), "instruction", instruction=said)
        if judgement.success is not None:
            self._end(success=judgement.success, reason=judgement.reason, judged=True)
        elif self._now() - episode.started_ns > nanoseconds(self._config.run.episode_timeout_s):
            reason = f"no verdict within run.episode_timeout_s ({self._config.run.episode_timeout_s:g} s)"
            if (halt := self._summary.halts.now) is not None:
                reason += f"; the arm is {halt.words}"
            self._end(success=False, reason=reason, judged=False)

    def _end(self, *, success: bool, reason: str, judged: bool) -> None:
        episode = self._episode
        if episode is None:
            return
        now_ns = self._now()
        duration_s = seconds(now_ns - episode.started_ns)
        result = EpisodeResult(
            episode.number, self._task, episode.seed, episode.instruction, success, reason, judged, duration_s
        )
        self._summary.results.append(result)
        word = ("success" if success else f"failure: {reason}") if judged else f"broken off: {reason}"
        self._recorder.event(now_ns, "verdict", episode=episode.number, result=word)
        called = self._summary.called(episode.number)
        self._display.say(f"{called}: {word} after {duration_s:.1f} s  “{episode.instruction}”")
        self._episode = None

    def _check_children(self) -> None:
        self._interrupts.check()
        if self._display.lost:
            raise InterruptedRunError(f"nobody sees any more what the run says: {self._display.lost}")
        if self._recorder.fault is not None:
            raise self._recorder.fault
        for ending in self._children.ended():
            self._note(ending)
            if ending.name == RECORDER:
                self._display.say(f"the recorder {ending.how}: the run goes on without a recording")
                continue
            if ending.name not in LEADS_TO_SYSTEM2 or self._episode is None:
                raise ProcessEndedError(ending)
            # The edge goes on as long as its last latent is good; then the arm must hold by itself.
            self._display.say(f"{LEADS_TO_SYSTEM2[ending.name]} {ending.how}: waiting for the arm to hold")
            self._lost = self._lost or (ProcessEndedError(ending), self._now())

    def _check_hold(self, monitor: Monitor, now_ns: int) -> None:
        """Once System 2 or the line to it is lost, let the arm come to its hold, then end the run."""
        if self._lost is None:
            return
        error, lost_ns = self._lost
        patience_ms = self._config.control.ages.latent_hard_ms + 1000
        held = monitor.state is not None and monitor.state.mode in ("HOLDING", "STOPPED")
        if held or now_ns - lost_ns > patience_ms * NS_PER_MS:
            raise error

    def _check_silence(self, monitor: Monitor) -> None:
        """End the run when a process hangs; for System 2, once the arm holds, unless it answers before."""
        if self._silence is None:
            return
        hung = self._silence.look(monitor.flows["state"].last_ns)
        self._hung = set(hung)
        for name in ("control", "planner"):
            if name in hung:
                raise hung[name]
        if "slow" in hung and self._lost is None and self._episode is not None:
            self._display.say("System 2 does not answer: waiting for the arm to hold")
            self._lost = (hung["slow"], self._now())
        elif "slow" not in hung and self._lost and isinstance(self._lost[0], PeerTimeoutError):
            self._lost = None

    def _stop(self, peers: dict[str, Peer]) -> None:
        """Bring the arm to rest first, then end the processes, those that lead before those that follow.

        Those that hang are neither asked nor waited for; one whose work was broken off is waited for briefly.
        Nor is anybody asked who has not answered as a process of this run: the arm of another run is not ours
        to stop.
        """
        patience_s = dict.fromkeys(self._hung, 0.0) | dict.fromkeys(self._busy, _BUSY_GRACE_S)
        asked = [name for name in self._children.names if name in self._welcomed - patience_s.keys()]
        try:
            if "control" in asked:
                peers["control"].ask("stop", {"reason": "the run is over"}, _LAST_ANSWER_S)
            for name in asked:
                self._summary.status[name] = peers[name].ask("status", timeout_s=_LAST_ANSWER_S)
        except BusError as error:
            # The run is over either way; what could not be asked is missing from the summary.
            self._recorder.event(self._now(), "fault", text=str(error))
        for name in reversed(self._processes):
            for ending in self._children.stop([name], patience_s.get(name, _STOP_GRACE_S)):
                self._note(ending)

    def _note(self, ending: Ending) -> None:
        self._summary.endings[ending.name] = ending.how
        self._recorder.event(self._now(), "ended", name=ending.name, how=ending.how, expected=ending.expected)

    def _write_summary(self, monitor: Monitor) -> None:
        self._summary.measured = monitor.summary()
        self._recorder.summary(self._summary.tree(self._now()))

    def _finish(self, monitor: Monitor) -> None:
        self._recorder.event(self._now(), "end", state=self._summary.state, problem=self._summary.problem)
        if (fault := self._recorder.fault) is not None and not self._summary.problem:
            self._summary.state, self._summary.problem = "failed", str(fault)
        self._write_summary(monitor)
        made: list[Path] = []
        notes: list[str] = []
        if self._config.run.report and self._summary.results and self._recorder.fault is None:
            self._display.say("drawing figures and film (--run.report false leaves them out) ...")
            made, notes = build_report(self.folder.path, self._config.run.video_hz)
        for note in notes:
            self._display.say(note)
        for words in self._summary.closing_words():
            self._display.say(words)
        if recording := closing_line(self._config):
            self._display.say(recording)
        files = ", ".join(path.name for path in [Path("summary.json"), *made])
        self._display.say(f"run folder {self.folder.path}: {files}")

    @property
    def _task(self) -> str:
        """What the episodes are called."""
        return self._config.run.task if self._simulated else "unjudged"

    def _now(self) -> int:
        return self._clock.now_ns()
