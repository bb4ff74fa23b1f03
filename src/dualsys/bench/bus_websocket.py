"""The bus benchmark over a websocket: one MessagePack request, one reply, as openpi serves its policies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualsys.bench.bus_payloads import ANSWER_S, CAMERA, INSTRUCTION, Addresses, Stamps, latents, no_answer
from dualsys.clock import WallClock
from dualsys.telemetry.extras import optional

PURPOSE = "the bus benchmark"
_ARRAY, _DATA, _DTYPE, _SHAPE = b"__ndarray__", b"data", b"dtype", b"shape"


def pack(tree: Mapping[str, object]) -> bytes:
    """A message with arrays, as bytes."""
    packed: bytes = optional("msgpack", PURPOSE, "bench").packb(tree, default=_to_map)
    return packed


def unpack(data: bytes) -> dict[str, Any]:
    """A message from bytes; arrays are views into them."""
    tree: dict[str, Any] = optional("msgpack", PURPOSE, "bench").unpackb(
        data, object_hook=_from_map, strict_map_key=False
    )
    return tree


def question(number: int, images: Mapping[str, NDArray[np.uint8]]) -> dict[str, object]:
    """What the near end asks."""
    return {
        "payload": number,
        "images": dict(images),
        "state": np.zeros(9, np.float32),
        "prompt": INSTRUCTION,
    }


def _to_map(value: object) -> object:
    if isinstance(value, np.ndarray):
        return {_ARRAY: True, _DATA: value.tobytes(), _DTYPE: value.dtype.str, _SHAPE: value.shape}
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _from_map(tree: dict[Any, Any]) -> Any:
    if _ARRAY not in tree:
        return tree
    # Float32 and bytes are all that this benchmark sends: what to build is not up to the peer.
    kind = {"<f4": np.float32, "|u1": np.uint8}[tree[_DTYPE]]
    return np.frombuffer(tree[_DATA], kind).reshape(tree[_SHAPE])


class WebsocketNear:
    """The end that asks.

    Args:
        addresses: Of the far end, `up` as `ws://HOST:PORT`.

    Raises:
        MissingExtraError: `websockets` or `msgpack` is not installed.
    """

    def __init__(self, addresses: Addresses) -> None:
        client = optional("websockets.sync.client", PURPOSE, "bench")
        self._address = addresses.up
        self._clock, self.received_ns = WallClock(), 0
        self._stack = ExitStack()
        self._connection = self._stack.enter_context(
            client.connect(addresses.up, compression=None, max_size=None, proxy=None)
        )

    def exchange(self, number: int, images: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `Near`."""
        self._connection.send(pack(question(number, images)))
        try:
            data = self._connection.recv(timeout=ANSWER_S)
        except TimeoutError as error:
            raise no_answer("websocket", self._address) from error
        self.received_ns = self._clock.now_ns()
        latent: NDArray[np.float32] = unpack(data)["latent"]
        return latent

    def close(self) -> None:
        """Disconnect."""
        self._stack.close()


def serve_websocket(addresses: Addresses, stamp: Stamps, ready: Callable[[], None]) -> None:
    """Answers for as long as the process lives; see `bus_far.serve`."""
    asyncio.run(_serve(addresses, stamp, ready))


async def _serve(addresses: Addresses, stamp: Stamps, ready: Callable[[], None]) -> None:
    server = optional("websockets.asyncio.server", PURPOSE, "bench")
    host, port = addresses.up.removeprefix("ws://").split(":")
    answers = latents()

    async def handle(connection: Any) -> None:
        async for data in connection:
            asked = unpack(data)
            if asked["images"] and asked["images"][CAMERA].ndim != 3:
                raise ValueError("an image has three dimensions")
            making_ns = stamp.making()
            answer = pack({"latent": answers[asked["payload"]]})
            stamp.sending(making_ns)
            await connection.send(answer)

    async with server.serve(handle, host, int(port), compression=None, max_size=None) as listening:
        ready()
        await listening.serve_forever()
