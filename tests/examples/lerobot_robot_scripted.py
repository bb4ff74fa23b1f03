"""A robot in software, as a plug-in of LeRobot: two joints in degrees and from -100 to 100, and a gripper."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import exp
from typing import Any

from lerobot.robots import Robot, RobotConfig

LAG_S = 0.02


@RobotConfig.register_subclass("scripted")
@dataclass(kw_only=True)
class ScriptedConfig(RobotConfig):
    """Its configuration.

    Attributes:
        calibrated: Whether it says that it is.
        reads: So many observations there are; then its bus is gone. None for as many as are wanted.
    """

    calibrated: bool = True
    reads: int | None = None


class Scripted(Robot):
    """Each number follows what it is told with a lag."""

    config_class = ScriptedConfig
    name = "scripted"

    def __init__(self, config: ScriptedConfig) -> None:
        super().__init__(config)
        self._calibrated = config.calibrated
        self._values = {"base.pos": 20.0, "elbow.pos": -30.0, "light.pos": 7.0, "gripper.pos": 50.0}
        self._goals = dict(self._values)
        self._connected = False
        self._reads = config.reads
        self._since_s = time.monotonic()

    @property
    def observation_features(self) -> dict[str, Any]:
        return {**dict.fromkeys(self._values, float), "front": (48, 64, 3)}

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(self._values, float)

    @property
    def is_connected(self) -> bool:
        return self._connected

    @property
    def is_calibrated(self) -> bool:
        return self._calibrated

    def connect(self, calibrate: bool = True) -> None:
        assert not calibrate, "it would ask somebody to move it by hand"
        self._connected = True

    def calibrate(self) -> None:
        raise AssertionError("it would ask somebody to move it by hand")

    def configure(self) -> None:
        pass

    def get_observation(self) -> dict[str, Any]:
        if self._reads is not None:
            self._reads -= 1
            if self._reads < 0:
                raise ConnectionError("no answer from elbow,\nid 2")
        now_s = time.monotonic()
        part = 1.0 - exp(-(now_s - self._since_s) / LAG_S)
        self._since_s = now_s
        for key, goal in self._goals.items():
            self._values[key] += part * (goal - self._values[key])
        return dict(self._values)

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        assert action.keys() == self._goals.keys(), action
        assert action["light.pos"] == 7.0, "what is no axis shall stay as it is"
        self.get_observation()
        self._goals = dict(action)
        return action

    def disconnect(self) -> None:
        self._connected = False
