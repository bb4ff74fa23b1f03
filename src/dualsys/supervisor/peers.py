"""What the supervisor asks of the other processes, by name."""

from __future__ import annotations

from collections.abc import Mapping

from dualsys.bus.handshake import PROCESS_ID, shake_hands
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import ZmqContext
from dualsys.config import SystemConfig
from dualsys.errors import BusError, PeerTimeoutError
from dualsys.messages import Welcome
from dualsys.robots.registry import driver_named

ANSWER_S = 2.0
"""Longest wait for an answer that needs no work."""

RESET_S = 20.0
"""Longest wait for a simulated world to be built anew."""

_KNOCK_S = 0.25


class RefusedError(BusError):
    """A process answered no. The message is its own."""


class Peer:
    """One process that answers requests.

    Args:
        context: From `bus.sockets.open_context`.
        endpoint: Its service.
        name: What to call it in errors.
    """

    def __init__(self, context: ZmqContext, endpoint: str, name: str) -> None:
        self.name = name
        self.endpoint = endpoint
        self._client = ServiceClient(context, endpoint, name)

    def ask(
        self, verb: str, arguments: Mapping[str, str] | None = None, timeout_s: float = ANSWER_S
    ) -> dict[str, str]:
        """Ask for something.

        Returns:
            The values of the answer.

        Raises:
            RefusedError: The process answered no.
            PeerTimeoutError: It did not answer in time.
        """
        reply = self._client.request(verb, timeout_s, arguments)
        if not reply.ok:
            raise RefusedError(f"{self.name} refuses {verb!r}: {reply.text}")
        return reply.values | ({"text": reply.text} if reply.text else {})

    def knock(self, pid: int | None = None) -> Welcome | None:
        """Introduce the supervisor; None while nobody answers yet.

        Args:
            pid: Process id of whoever should answer. None: whoever does; and a process that does not tell
                its own, such as a robot, is believed.

        Raises:
            BusError: Another process answers: another run has begun at the same addresses at the same time.
        """
        try:
            welcome = shake_hands(self._client, "supervisor", 0, None, _KNOCK_S)
        except PeerTimeoutError:
            return None
        told = welcome.details.get(PROCESS_ID)
        if pid is not None and told is not None and told != str(pid):
            raise BusError(
                f"{self.endpoint}: expected {self.name} of this run (process {pid}), process {told} answers: "
                "something else has been started at the same addresses; end it, or choose other addresses"
            )
        return welcome

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


def open_peers(context: ZmqContext, config: SystemConfig) -> dict[str, Peer]:
    """The processes of a system, by the names that the supervisor gives them; `sim` if its arm is simulated.

    Raises:
        RobotError: The driver cannot be loaded.
    """
    ends = config.endpoints
    simulated = driver_named(config.robot.driver).simulated
    sim = {"sim": Peer(context, ends.robot.service, "the simulated robot")} if simulated else {}
    return sim | {
        "slow": Peer(context, ends.slow.service, "System 2"),
        "control": Peer(context, ends.control.service, "control"),
        "planner": Peer(context, ends.planner.service, "the planner"),
    }
