"""Scripted processes of a system, for the supervisor's tests: `python double.py NAME CONFIG`.

The task of the configuration says what is to go wrong. Things happen by what was asked and recorded, never
after a time: on a busy machine the processes of a run are far from equally fast.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

import numpy as np

from dualsys.bus.channel import LatestPublisher
from dualsys.bus.codec import to_image
from dualsys.bus.handshake import PROCESS_ID, answer_hello
from dualsys.bus.service import ServiceClient, ServiceServer, refusal
from dualsys.bus.sockets import open_context
from dualsys.clock import NS_PER_MS, Pacer, WallClock
from dualsys.config import SystemConfig, load_config
from dualsys.errors import DualsysError
from dualsys.messages import (
    CameraFrame,
    ControlState,
    Hello,
    LatentPacket,
    Plan,
    Reply,
    Request,
    Tensor,
    Welcome,
)
from dualsys.supervisor.lifeline import die_with

QUESTIONS_TO_VERDICT = 4
INSTRUCTION = "pick up the red cube"


class Double:
    """One scripted process."""

    def __init__(self, name: str, config: SystemConfig, folder: Path) -> None:
        self.name = name
        self.config = config
        self.events = folder / "events.jsonl"
        self.clock = WallClock()
        self.context = open_context()
        ends = config.endpoints
        service = {"sim": ends.robot, "slow": ends.slow, "planner": ends.planner, "control": ends.control}[
            name
        ].service
        self.service = ServiceServer(self.context, service, setting=f"endpoints.{name}.service")
        channels = {"slow": ends.slow.latent, "planner": ends.planner.plan, "control": ends.control.state}
        topics = {"sim": (b"fixed", b"wrist")}.get(name, (b"",))
        address = channels.get(name, ends.robot.cameras)
        self.publishers = {
            topics[0]: LatestPublisher(self.context, address, bind=True, setting=name, topic=topics[0])
        }
        if name == "planner" and config.line.emulated:
            self._reach_system2()
        self.seq = 0
        self.epoch = 0
        self.instruction = INSTRUCTION
        self.questions = 0
        self.held = 0

    def run(self) -> None:
        """Serve until SIGTERM, which ends it at once: tidying up can outlast the supervisor."""
        signal.signal(signal.SIGTERM, _end)
        pacer = Pacer(self.clock, 10 * NS_PER_MS)
        while True:
            self.service.serve(self._hello, self._request)
            self.seq += 1
            self._publish()
            if self._is_to_die():
                print("something terrible happened", flush=True)
                os._exit(3)
            pacer.wait()

    def _reach_system2(self) -> None:
        """Wait until System 2 answers through the line."""
        setting, way = self.config.way_to_system2()
        client = ServiceClient(self.context, way.service, "System 2")
        reply = client.request("status", 20.0)
        print(f"System 2 answers at {setting}: {reply.ok}", flush=True)
        client.close()

    def _hello(self, hello: Hello) -> Welcome | Reply:
        return answer_hello(
            hello, self.name, None, {"model": f"double of {self.name}", PROCESS_ID: str(os.getpid())}
        )

    def _request(self, request: Request) -> Reply:
        verb, arguments, task = request.verb, request.arguments, self.config.run.task
        if verb == "reset":
            self.questions = 0
            if task == "never_resets":
                # As a world that takes for ever: nothing is heard, and no signal is looked at.
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
                print("the world is being built", flush=True)
                signal.pause()
            return Reply(ok=True, values={"instruction": INSTRUCTION})
        if verb == "status":
            return Reply(ok=True, values=self._verdict(task))
        if verb == "check" and "zebra" in arguments["instruction"]:
            raise DualsysError("unknown word 'zebra'; known: red, blue")
        if verb == "new_epoch":
            self.epoch += 1
            return Reply(ok=True, values={"epoch": str(self.epoch)})
        if verb in ("check", "say", "start_episode", "end_episode", "stop", "resume"):
            print(verb, dict(arguments), flush=True)
            return Reply(ok=True)
        return refusal(f"verb {verb!r} is unknown")

    def _verdict(self, task: str) -> dict[str, str]:
        self.questions += 1
        if task in ("never_ends", "slow_dies", "halts", "holds") or self.questions < QUESTIONS_TO_VERDICT:
            return {"verdict": "", "instruction": INSTRUCTION}
        return {"verdict": "success", "reason": "lifted", "instruction": INSTRUCTION}

    def _is_to_die(self) -> bool:
        """Whether this is a System 2 that dies in the first episode, and the episode has begun."""
        dies = self.name == "slow" and self.config.run.task == "slow_dies"
        return dies and self._recorded('"kind":"episode"')

    def _recorded(self, text: str) -> bool:
        """Whether the events of the run contain something."""
        return text in self.events.read_text("utf-8").replace(" ", "")

    def _mode(self) -> tuple[str, str]:
        """What control says that the arm does, and why."""
        if self.config.run.task not in ("halts", "holds") or not self._recorded('"kind":"episode"'):
            return "RUNNING", ""
        if self.config.run.task == "holds":
            return "HOLDING", "latent is too old"
        if not self._recorded('"HOLDING"'):
            self.held += 1
            return "HOLDING", f"latent is {800 + self.held} ms old"
        return "STOPPED", "joint 3 is too hot"

    def _publish(self) -> None:
        if self.name == "slow" and self.seq % 10:
            return
        for topic, publisher in self.publishers.items():
            publisher.send(self._message(topic.decode()))

    def _message(self, camera: str) -> CameraFrame | LatentPacket | Plan | ControlState:
        now_ns = self.clock.now_ns()
        if self.name == "sim":
            image = to_image(np.full((96, 128, 3), 128, np.uint8))
            return CameraFrame(camera=camera, seq=self.seq, t_robot_ns=now_ns, image=image)
        if self.name == "slow":
            return LatentPacket(
                session=1,
                episode=0,
                seq=self.seq // 10,
                observation_seq=0,
                t_capture_ns=now_ns - 200 * NS_PER_MS,
                instruction=self.instruction,
                compute_ns=NS_PER_MS,
                weights="w",
                kind="latent_vector",
                tensors={},
            )
        if self.name == "planner":
            times = now_ns + np.arange(-2, 3) * 40 * NS_PER_MS
            return Plan(
                session=1,
                episode=0,
                epoch=self.epoch,
                seq=self.seq,
                t_ns=Tensor.of(times),
                setpoints=Tensor.of(np.zeros((5, 8))),
                latent_seq=0,
                t_latent_ns=now_ns,
                t_observation_ns=now_ns,
                splice_ns=now_ns,
                delay_ns=12 * NS_PER_MS,
                delay_steps=1,
            )
        mode, reason = self._mode()
        return ControlState(
            session=1,
            seq=self.seq,
            t_ns=now_ns,
            position=(0.0,) * 8,
            velocity=(0.0,) * 8,
            command=(0.0,) * 8,
            mode=mode,
            reason=reason,
            epoch=self.epoch,
            plan_seq=0,
            latent_age_ns=300 * NS_PER_MS,
            plan_age_ns=10 * NS_PER_MS,
            counters={"ticks": self.seq, "missed": 0},
        )


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    os._exit(0)


if __name__ == "__main__":
    die_with(int(sys.argv[3]))
    Double(sys.argv[1], load_config(sys.argv[2]), Path(sys.argv[2]).parent).run()
