"""Whoever reads messages from a peer, as the fuzzer has them: what comes in is used or refused, never else.

What the receivers take for good is what the seeds of the corpus hold: a camera of 2 by 3 pixels, features of
four tokens, a latent of two. Each input meets receivers that have met none before, so that it does by itself
whatever it did.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from dualsys.bus.codec import encode
from dualsys.bus.handshake import answer_hello, uplink_details
from dualsys.bus.latent_codec import CODECS, FeatureReader, LatentReader
from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.errors import DualsysError, MessageError, SpecError
from dualsys.fast.control.core import Ages, ControlCore
from dualsys.fast.planner.arm import ArmModel
from dualsys.fast.planner.connections import SlowConnection, epoch_in
from dualsys.fast.planner.latents import LatentHistory
from dualsys.fast.planner.rate_control import RateBounds
from dualsys.fast.planner.trips import Trips
from dualsys.fast.planner.uplink import Uplink
from dualsys.messages import (
    PROTOCOL_VERSION,
    ArmState,
    ControlState,
    Hello,
    LatentPacket,
    Message,
    Observation,
    Plan,
    Reply,
    Tensor,
    Welcome,
)
from dualsys.robots.contract import ArmReading
from dualsys.robots.kinematics import PANDA, TOOL_DOWN
from dualsys.robots.link import spec_from
from dualsys.robots.profiles import SIMULATED_PANDA_LIMITS
from dualsys.slow.admission import Capacity
from dualsys.slow.backend import System2Output
from dualsys.slow.core import SlowCore
from dualsys.slow.fleet import Fleet
from dualsys.slow.vocabulary import Vocabulary
from dualsys.specs import LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

SPECS = SystemSpecs(
    ObservationSpec({"fixed": TensorSpec((2, 3, 3), "uint8")}, TensorSpec((9,))),
    LatentSpec("latent_sequence", {"tokens": TensorSpec((2, 4), minimum=-100.0, maximum=100.0)}),
)
FEATURES = {"fixed": TensorSpec((4, 6))}
NOW_NS = 100 * NS_PER_S
TICK_NS = 4 * NS_PER_MS
HOME = np.append(PANDA.rest_rad, 0.08)
WORDS = ("", "push", "pick", "up", "the", "red", "block")


class Whole:
    """A System 2 that is shown images: a latent of what it was shown, however large that is."""

    specs, name, weights = SPECS, "scripted", "abc"
    check_instruction = staticmethod(Vocabulary(WORDS, 6).encode)

    def encode(
        self, shown: Mapping[str, NDArray[Any]], proprioception: NDArray[np.float32], instruction: str
    ) -> System2Output:
        assert instruction
        assert np.isfinite(proprioception).all()
        mean = np.float32(np.mean(shown["fixed"], dtype=np.float64))
        return System2Output({"tokens": np.full((2, 4), mean, np.float32)}, instruction)


class Half(Whole):
    """Its language half, which is shown features."""

    features = FEATURES


def receive(message: Message) -> set[str]:
    """Give a message to all who would read it.

    Returns:
        What it was taken for, such as `features as int8`; empty if everybody refused it.

    Raises:
        Exception: Whatever a receiver raised apart from its own refusals, which is a fault.
    """
    receiver = {
        Observation: _by_system2,
        LatentPacket: _by_planner,
        Hello: _at_the_door,
        Welcome: _by_caller,
        Plan: _by_control,
        ArmState: _from_robot,
        ControlState: _from_control,
    }.get(type(message))
    return set() if receiver is None else receiver(message)


def _by_system2(observation: Observation) -> set[str]:
    taken = set()
    for model in (Whole(), Half()):
        for codec in CODECS:
            core = SlowCore(model, codec, codec)
            try:
                packet = core.process(observation)
            except DualsysError:
                assert sum(core.statistics().rejected.values()) == 1
                continue
            encode(packet)
            history = LatentHistory(observation.session, SPECS.latent, codec)
            history.expect(observation)
            assert history.offer(packet, observation.episode, observation.instruction), history.last_fault
            taken.add(f"features as {codec}" if isinstance(model, Half) else "images")
    return taken


def _by_planner(packet: LatentPacket) -> set[str]:
    taken = set()
    for codec in CODECS:
        if _reads(LatentReader(SPECS.latent, codec), packet.tensors, SPECS.latent.tensors):
            taken.add(f"latent as {codec}")
        _reads(FeatureReader(FEATURES, codec), packet.tensors, FEATURES)
    sent_ns = NOW_NS - 200 * NS_PER_MS
    observation = Observation(
        session=packet.session,
        episode=packet.episode,
        seq=packet.observation_seq,
        t_capture_ns=packet.t_capture_ns,
        images={},
        proprioception=Tensor.of(np.zeros(9, np.float32)),
        instruction=packet.instruction,
    )
    history = LatentHistory(packet.session, SPECS.latent, packet.codec)
    history.expect(observation)
    if history.offer(packet, packet.episode, packet.instruction):
        assert all(np.isfinite(part).all() for part in history.read(NOW_NS))
    slow, trips = SlowConnection(NS_PER_S), Trips()
    slow.welcomed(Welcome(protocol=PROTOCOL_VERSION, role="system2", details={"weights": packet.weights}))
    assert slow.admits(packet)
    trips.sent(packet.observation_seq, sent_ns)
    bounds = RateBounds(1.0, 10.0, 40, 90, 100 * NS_PER_MS, 500 * NS_PER_MS)
    uplink = Uplink(NS_PER_S // 10, 90, sent_ns, bounds)
    for step in range(6):
        now_ns = NOW_NS + step * NS_PER_S // 2
        uplink.due(now_ns)
        # The same stamps again and again, for other observations: the clock there stands, or jumps.
        seq = min(packet.observation_seq, 2**63) + step
        uplink.sent(msgspec.structs.replace(observation, seq=seq), now_ns)
        again = msgspec.structs.replace(packet, observation_seq=seq)
        uplink.answered(again, now_ns + 150 * NS_PER_MS, trips.clock_steps)
        trips.sent(seq, now_ns)
        trips.answered(again, now_ns + 150 * NS_PER_MS)
    statistics = uplink.statistics()
    assert 1.0 <= statistics.rate_hz <= 10.0
    assert 40 <= statistics.jpeg_quality <= 90
    return taken | ({"round trip"} if trips.statistics().computed_ms >= 0 else set())


def _reads(
    reader: LatentReader | FeatureReader, parts: Mapping[str, Tensor], specs: Mapping[str, TensorSpec]
) -> bool:
    try:
        arrays = reader.read(parts)
    except SpecError:
        return False
    for name, spec in specs.items():
        spec.validate(arrays[name], name)
    return True


def _at_the_door(hello: Hello) -> set[str]:
    # The seeds are older than the newest protocol; what comes after that question is to be reached.
    hello = msgspec.structs.replace(hello, protocol=PROTOCOL_VERSION, schema="")
    ours = {"axes": "a b", "latent_codec": "int8", **uplink_details("features", "int8", "abc")}
    answer = answer_hello(hello, "system2", SPECS, ours)
    encode(answer)
    if isinstance(answer, Reply):
        assert answer.values["field"]
    taken = {"hello"} if isinstance(answer, Welcome) else set()
    fleet = Fleet(Whole(), Capacity(2, (1, 2), 5 * NS_PER_MS, 0, 0))
    for session in (hello.session, hello.session + 1):
        try:
            fleet.join(session, hello.details, NOW_NS)
        except DualsysError:
            assert fleet.refused
    encode(Reply(ok=True, values={name: str(totals) for name, totals in fleet.by_robot().items()}))
    return taken | ({"robot of a fleet"} if fleet.robots else set())


def _by_caller(welcome: Welcome) -> set[str]:
    taken = set()
    with suppress(DualsysError):
        spec_from(welcome.details)
        taken.add("robot")
    try:
        epoch = epoch_in(welcome)
    except MessageError:
        return taken
    encode(_plan_of_epoch(epoch))
    return taken | {"epoch of control"}


def _plan_of_epoch(epoch: int) -> Plan:
    return Plan(
        session=1,
        episode=1,
        epoch=epoch,
        seq=1,
        t_ns=Tensor.of(np.zeros(1, np.int64)),
        setpoints=Tensor.of(np.zeros((1, 8))),
        latent_seq=-1,
        t_latent_ns=-1,
        t_observation_ns=0,
        splice_ns=0,
        delay_ns=0,
        delay_steps=0,
    )


def _by_control(plan: Plan) -> set[str]:
    shift_ns = NOW_NS - int(plan.t_ns.array().flat[0]) if plan.t_ns.dtype == "int64" and plan.t_ns.data else 0
    # As it is, and as one that is meant for now, which comes further.
    moved = plan.t_ns.array() + shift_ns if shift_ns and abs(shift_ns) < 2**62 else None
    plans = [plan] if moved is None else [plan, msgspec.structs.replace(plan, t_ns=Tensor.of(moved))]
    core = ControlCore(SIMULATED_PANDA_LIMITS, Ages(), TICK_NS, session=plan.session)
    reading = ArmReading(NOW_NS, HOME.copy(), np.zeros(8), "ok")
    core.step(NOW_NS, reading)
    for seq, one in enumerate(plans):
        epoch = core.epoch
        core.on_plan(msgspec.structs.replace(one, epoch=epoch, seq=plan.seq + seq), NOW_NS)
    for tick in range(1, 4):
        now_ns = NOW_NS + tick * TICK_NS
        output = core.step(now_ns, ArmReading(now_ns, HOME.copy(), np.zeros(8), "ok"))
        encode(output.state)
        assert output.command is None or np.isfinite(output.command).all()
    return {"plan"} if core.statistics()["plans"] else set()


def _from_robot(state: ArmState) -> set[str]:
    core = ControlCore(SIMULATED_PANDA_LIMITS, Ages(), TICK_NS, session=1)
    position, velocity = np.array(state.position, np.float64), np.array(state.velocity, np.float64)
    for tick in range(4):
        now_ns = NOW_NS + tick * TICK_NS
        output = core.step(now_ns, ArmReading(now_ns, position, velocity, state.status, state.detail))
        assert output.command is None or np.isfinite(output.command).all()
        encode(output.state)
    if state.detail and state.detail in output.reason:
        return {"why it stopped"}
    return {"arm"} if output.command is not None else set()


def _from_control(state: ControlState) -> set[str]:
    try:
        arm = ArmModel(PANDA, TOOL_DOWN, 0.08).read(state)
    except SpecError:
        return set()
    assert np.isfinite(arm.tool_m).all()
    assert np.isfinite(arm.command).all()
    return {"state of control"}
