"""Fuzzing of everything that reads bytes from a peer: decoders, and the sockets themselves.

    python tests/fuzz/fuzz.py --seconds 60 --seed 1
    python tests/fuzz/fuzz.py --seconds 3600 --sockets 0.02      # a long run, mostly of decoders

Inputs are mutations of the corpus: of its bytes, and of the MessagePack trees in it. Whatever comes in, a
decoder returns a valid message or raises MessageError, whoever reads that message uses or refuses it (see
`fuzz_receivers`), and a server goes on serving its friends. An input that breaks this is written into the
corpus, where the tests find it from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import math
import random
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import zmq
from fuzz_receivers import receive

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.codec import decode, encode, from_image
from dualsys.bus.gate import judge
from dualsys.bus.handshake import answer_hello
from dualsys.bus.order import Order, layout
from dualsys.bus.service import ServiceServer
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.clock import NS_PER_S, WallClock
from dualsys.errors import MessageError
from dualsys.messages import (
    ArmCommand,
    ArmState,
    CameraFrame,
    ControlState,
    Hello,
    Image,
    LatentPacket,
    Message,
    Observation,
    Plan,
    Reply,
    Request,
    Tensor,
    Welcome,
)

CORPUS = Path(__file__).parent / "corpus"
TYPES: tuple[type[Message], ...] = (
    Observation,
    LatentPacket,
    Plan,
    ControlState,
    ArmState,
    ArmCommand,
    CameraFrame,
    Hello,
    Welcome,
    Request,
    Reply,
)
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16 + 32)
NASTY: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**64 - 1,
    -(2**63),
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    5e-324,
    "",
    "\0",
    "object",
    "O",
    "V8",
    "float128",
    ">f4",
    "\x1b[2J",
    "../../etc/passwd",
    "a" * 3000,
    "nan",
    "-inf",
    "1e-320",
    "9" * 2000,
    "\u0663",
    "bfloat16",
    "int8",
    b"",
    b"\x80\x04N.",
    b"\xff" * 64,
    [],
    {},
    [[[[[[[[]]]]]]]],
    [2**62, 2**62, 0],
    [2**32, 2**32],
    [0],
    ["float32", [2, 4], b"\x00\x00\x80\x7f" * 8],
    ["float32", [2], b"\x00\x00\xc0\xff" * 2],
    ["float32", [], b"\xff\xff\x7f\x7f"],
    ["float16", [2, 4], b"\x00\x7c" * 8],
    ["uint16", [2, 4], b"\x80\x7f" * 8],
    ["int8", [2, 4], b"\x80" * 8],
    ["int8", [0, 4], b""],
    {"type": "request"},
)


def corpus(folder: Path = CORPUS) -> list[bytes]:
    """Every input in the corpus."""
    return [path.read_bytes() for path in sorted(folder.glob("*.bin"))]


def mutated(seed: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """One input made of another."""
    if rng.random() < 0.5:
        with suppress(ValueError, msgpack.UnpackException, UnicodeDecodeError):
            tree = msgpack.unpackb(seed, strict_map_key=False)
            with suppress(OverflowError, TypeError, UnicodeEncodeError):
                return bytes(msgpack.packb(_changed(tree, rng)))
    data = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(data))
        match rng.randint(0, 6):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randint(0, 7)
            case 1 if data:
                # The first bytes of a MessagePack value say its type and its length.
                data[at % len(data)] = rng.choice(
                    (0x81, 0x91, 0xC4, 0xC6, 0xCB, 0xCF, 0xD9, 0xDB, 0xDD, 0xDF)
                )
            case 2:
                data[at:at] = rng.randbytes(rng.randint(1, 9))
            case 3:
                del data[at : at + rng.randint(1, 64)]
            case 4:
                del data[at:]
            case 5 if data and 0x80 <= data[0] < 0x8F:
                # A key that comes twice, or a piece of one.
                data[0] += 1
                data += data[1 : 1 + rng.randint(2, 40)]
            case _:
                other = rng.choice(others)
                cut = rng.randint(0, len(other))
                data[at:] = other[cut : cut + 4096]
    return bytes(data)


def _changed(tree: Any, rng: random.Random) -> Any:
    """A tree with one place changed."""
    if isinstance(tree, dict) and tree and rng.random() < 0.9:
        key = rng.choice(list(tree))
        match rng.randint(0, 9):
            case 0:
                return {name: value for name, value in tree.items() if name != key}
            case 1:
                return tree | {"unknown": rng.choice(NASTY)}
            case 2:
                return {(f"{name}x" if name == key else name): value for name, value in tree.items()}
            case _:
                return tree | {key: _changed(tree[key], rng)}
    if isinstance(tree, list) and tree and rng.random() < 0.9:
        at = rng.randrange(len(tree))
        match rng.randint(0, 5):
            case 0:
                return tree[:at]
            case 1:
                return tree + [tree[at]] * rng.choice((1, 7, 2000))
            case _:
                return [*tree[:at], _changed(tree[at], rng), *tree[at + 1 :]]
    return rng.choice(NASTY)


def read(data: bytes) -> int:
    """Give an input to every decoder. Returns how many took it for valid.

    Raises:
        Exception: Whatever a decoder raised apart from MessageError, which is a fault.
    """
    valid = 0
    for types in ((), *((kind,) for kind in TYPES)):
        try:
            message = decode(data, *types)
        except MessageError:
            continue
        valid += 1
        _use(message)
    begin = layout(1)
    if len(data) >= begin.size:
        _, publisher, number = begin.unpack_from(memoryview(data))
        Order().admit(publisher, number)
    frames = [data[start : start + 7] for start in range(0, min(len(data), 70), 7)]
    answer, reason = judge(frames, {b"k" * 32: "edge"})
    if not reason or answer[2] == b"200":
        raise AssertionError("a newcomer with a random key was let in")
    return valid


def _use(message: Message) -> None:
    """Do what a receiver does with a valid message."""
    again = decode(encode(message), type(message))
    if encode(again) != encode(message):
        raise AssertionError(f"{type(message).__name__} changes when it is sent on")
    for tensor in _within(message, Tensor):
        array = tensor.array()
        if array.nbytes != len(tensor.data):
            raise AssertionError("a tensor has other bytes than it was sent with")
    for image in _within(message, Image):
        with suppress(MessageError):
            from_image(image)
    receive(message)


def _within(value: object, kind: type[Any]) -> Iterator[Any]:
    """Every part of a message that is of a kind."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _within(part, kind)
    elif isinstance(value, Message):
        for name in value.__struct_fields__:
            yield from _within(getattr(value, name), kind)


def _speak(raw: socket.socket, data: bytes, rng: random.Random) -> None:
    """Greet as ZeroMQ does, then send frames that it would not: any flags, any length, in any order."""
    kind = rng.choice((b"PUB", b"DEALER", b"SUB", b"ROUTER", b"XPUB", b""))
    ready = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    raw.sendall(GREETING + bytes([4, len(ready)]) + ready)
    # Their greeting, and the beginning of what makes them ready: before that nothing counts.
    # It comes in pieces, and a socket with a timeout does not wait for all of them (MSG_WAITALL).
    with raw.makefile("rb", buffering=65) as answer:
        answer.read(65)
    for number in range(rng.randint(1, 4)):
        part = rng.choice((b"\0", b"\0" + bytes(16), bytes(8), b"\1", b"")) + data[number::3][:4096]
        size = len(part) if rng.random() < 0.9 else rng.choice((0, 2**31, 2**63, 2**64 - 1))
        # One for more to come, two for a long length, four for a command; the others mean nothing.
        flags = rng.choice((0, 1, 1, 4, 5, rng.randrange(256))) | 2
        raw.sendall(bytes([flags]) + size.to_bytes(8, "big") + part)


class Servers:
    """A service and a channel that strangers attack, and a friend who must be served throughout."""

    def __init__(self) -> None:
        self._context: ZmqContext = open_context()
        self._attackers: ZmqContext = open_context()
        self.service = ServiceServer(self._context, "tcp://127.0.0.1:*", setting="service")
        self.channel = LatestSubscriber(
            self._context, "tcp://127.0.0.1:*", bind=True, setting="channel", types=TYPES
        )
        self._friend = self._attackers.socket(zmq.DEALER)
        self._friend.connect(self.service.endpoint)
        self._publisher = LatestPublisher(
            self._attackers, self.channel.endpoint, bind=False, setting="channel"
        )
        self._dealer = self._attackers.socket(zmq.DEALER)
        self._dealer.connect(self.service.endpoint)
        self._pub = self._attackers.socket(zmq.PUB)
        self._pub.connect(self.channel.endpoint)
        self._asked = 0
        self.is_serving()

    def attack(self, data: bytes, rng: random.Random) -> None:
        """Send an input by every way that there is."""
        parts = [data[i::3] for i in range(rng.randint(1, 3))] if rng.random() < 0.3 else [bytes(8), data]
        with suppress(zmq.Again):
            self._dealer.send_multipart(parts, zmq.NOBLOCK)
        self._pub.send(rng.choice((b"\0", b"\0" + bytes(16), b"")) + data, zmq.NOBLOCK)
        if rng.random() < 0.1:
            endpoint = rng.choice((self.service.endpoint, self.channel.endpoint))
            host, port = endpoint.removeprefix("tcp://").split(":")
            with suppress(OSError), socket.create_connection((host, int(port)), timeout=1) as raw:
                if rng.random() < 0.5:
                    # Not even ZeroMQ: raw bytes, with or without its greeting before them.
                    raw.sendall(rng.choice((b"", GREETING, GREETING[: rng.randint(1, 63)])) + data[:4096])
                else:
                    _speak(raw, data, rng)
        self._serve()

    def is_serving(self) -> None:
        """Fail unless the friend's question is answered, and its message arrives, within ten seconds."""
        clock = WallClock()
        self._asked += 1
        number = self._asked.to_bytes(8, "big")
        question = encode(Request(verb="status"))
        deadline_ns = clock.now_ns() + 10 * NS_PER_S
        answered = arrived = False
        self._friend.send_multipart([number, question])
        while not (answered and arrived):
            if clock.now_ns() > deadline_ns:
                raise AssertionError("a friend is no longer served")
            self._publisher.send(ArmCommand(seq=self._asked, position=()))
            arrived |= any(m == ArmCommand(seq=self._asked, position=()) for m in self._serve())
            if self._friend.poll(1):
                answered |= self._friend.recv_multipart()[0] == number

    def close(self) -> None:
        """Let go of all sockets."""
        close_context(self._attackers)
        close_context(self._context)

    def _serve(self) -> list[Message]:
        self.service.serve(lambda hello: answer_hello(hello, "system2", None, {}), lambda _: Reply(ok=True))
        return [message for _ in range(3) if (message := self.channel.receive()) is not None]


def fuzz(
    rng: random.Random, goes_on: Callable[[int], bool], folder: Path = CORPUS, sockets: float = 1.0
) -> tuple[int, int]:
    """Fuzz for as long as wanted.

    Args:
        rng: Where the mutations come from.
        goes_on: Told the number of inputs so far; says whether there should be more.
        folder: Of the corpus; an input that breaks something is written there.
        sockets: Share of the inputs that go through the sockets too, which takes far longer than decoding.

    Returns:
        Inputs tried, and how often one was taken for valid by a decoder.
    """
    seeds = corpus(folder)
    servers = Servers()
    tried = valid = 0
    try:
        while goes_on(tried):
            data = mutated(rng.choice(seeds), seeds, rng)
            try:
                valid += read(data)
                if rng.random() < sockets:
                    servers.attack(data, rng)
            except Exception:
                (folder / f"found-{hashlib.sha256(data).hexdigest()[:12]}.bin").write_bytes(data)
                raise
            tried += 1
            if tried % round(200 / max(sockets, 0.01)) == 0:
                servers.is_serving()
        servers.is_serving()
    finally:
        servers.close()
    return tried, valid


def main(arguments: Sequence[str]) -> int:
    """Fuzz for some seconds, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--sockets", type=float, default=1.0, help="share of inputs for the sockets, 0 to 1")
    given = parser.parse_args(arguments)
    if not 0 <= given.sockets <= 1:
        parser.error(f"--sockets: got {given.sockets}, expected 0 to 1")
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    print(f"seed {seed}; corpus of {len(corpus())} inputs", flush=True)
    warnings.simplefilter("error")
    # Refusals are what is wanted, by the thousand.
    logging.disable(logging.WARNING)
    clock = WallClock()
    end_ns = clock.now_ns() + round(given.seconds * NS_PER_S)
    tried, valid = fuzz(random.Random(seed), lambda _: clock.now_ns() < end_ns, sockets=given.sockets)
    print(f"{tried} inputs, {valid} times valid, nothing broke")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
