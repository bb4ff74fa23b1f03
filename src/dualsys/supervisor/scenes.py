"""Where the scenes of a run come from, and who judges them: the simulated world, or nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dualsys.config import RunConfig
from dualsys.errors import BusError, ConfigError
from dualsys.supervisor.peers import RESET_S, Peer


@dataclass(frozen=True)
class Scene:
    """What an episode begins with.

    Attributes:
        instruction: What to tell the robot.
        judged: Whether somebody will say how it went.
    """

    instruction: str
    judged: bool


@dataclass(frozen=True)
class Judgement:
    """How an episode stands.

    Attributes:
        instruction: The words in force; empty where nobody changes them on the way.
        success: How it ended; None while it goes on.
        reason: What the judge says.
    """

    instruction: str = ""
    success: bool | None = None
    reason: str = ""


class Scenes(Protocol):
    """One scene after the other."""

    def begin(self, seed: int) -> Scene:
        """Make a scene, and begin to judge.

        Raises:
            BusError: It cannot be made.
        """
        ...

    def judge(self) -> Judgement:
        """Say how the episode stands.

        Raises:
            BusError: The judge does not answer.
        """
        ...


class SimulatedScenes:
    """Scenes of the process `dualsys sim`, drawn from seeds and judged there.

    Args:
        peer: That process.
        run: Which scenes.
    """

    def __init__(self, peer: Peer, run: RunConfig) -> None:
        self._peer = peer
        self._run = run

    def begin(self, seed: int) -> Scene:
        run = self._run
        wanted = {"task": run.task, "seed": str(seed), "phrasing": run.phrasing}
        wanted |= {"event": run.event} if run.event else {}
        wanted |= {"instruction": run.instruction} if run.instruction else {}
        scene = self._peer.ask("reset", wanted, RESET_S)
        instruction = run.instruction or scene.get("instruction", "")
        if not instruction:
            raise BusError(f"the simulated robot gave no instruction for task {run.task!r}, seed {seed}")
        return Scene(instruction, judged=scene.get("judged") != "no")

    def judge(self) -> Judgement:
        status = self._peer.ask("status")
        verdict = status.get("verdict")
        success = verdict == "success" if verdict else None
        return Judgement(status.get("instruction", ""), success, status.get("reason", ""))


class FoundScenes:
    """Whatever lies before an arm that is not simulated: nobody builds it, and nobody judges.

    Args:
        run: What the robot is to be told.

    Raises:
        ConfigError: There is no instruction.
    """

    def __init__(self, run: RunConfig) -> None:
        if run.instruction is None:
            raise ConfigError(
                "run",
                ["run.instruction: got null, expected what to tell the robot: no task says it to this arm"],
            )
        self._scene = Scene(run.instruction, judged=False)

    def begin(self, seed: int) -> Scene:
        del seed
        return self._scene

    def judge(self) -> Judgement:
        return Judgement()
