"""The bus benchmark over gRPC with pickled messages, as LeRobot's asynchronous inference sends them.

This is the only module that imports pickle. It talks to nobody but the process that the benchmark started,
over loopback, and nothing of dualsys imports it but the benchmark: a peer whose bytes are unpickled can run
anything it likes.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualsys.bench.bus_payloads import ANSWER_S, CAMERA, INSTRUCTION, Addresses, Stamps, latents, no_answer
from dualsys.clock import WallClock
from dualsys.telemetry.extras import optional

_SERVICE = "bench.Inference"
_SEND, _GET = "SendObservations", "GetActions"
_CHUNK_BYTES = 2 * 1024 * 1024
_OPTIONS = [("grpc.max_receive_message_length", 4 * _CHUNK_BYTES), ("grpc.enable_http_proxy", 0)]


def _grpc() -> Any:
    return optional("grpc", "the bus benchmark", "bench")


def question(number: int, images: Mapping[str, NDArray[np.uint8]]) -> bytes:
    """What the near end asks, pickled."""
    state = np.zeros(9, np.float32)
    return pickle.dumps({"payload": number, "images": dict(images), "state": state, "task": INSTRUCTION})


class GrpcNear:
    """The end that asks: a stream of chunks up, and a call that was already waiting for what comes down.

    Args:
        addresses: Of the far end, `up` as `HOST:PORT`.

    Raises:
        MissingExtraError: `grpcio` is not installed.
        PeerTimeoutError: Nobody answers.
    """

    def __init__(self, addresses: Addresses) -> None:
        grpc = _grpc()
        self._address = addresses.up
        self._clock, self.received_ns = WallClock(), 0
        self._channel = grpc.insecure_channel(addresses.up, options=_OPTIONS)
        try:
            grpc.channel_ready_future(self._channel).result(timeout=ANSWER_S)
        except grpc.FutureTimeoutError as error:
            raise no_answer("grpc", self._address) from error
        self._send = self._channel.stream_unary(f"/{_SERVICE}/{_SEND}")
        self._get = self._channel.unary_unary(f"/{_SERVICE}/{_GET}")

    def exchange(self, number: int, images: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `Near`."""
        data = question(number, images)
        coming = self._get.future(b"", timeout=ANSWER_S)
        self._send(_chunks(data), timeout=ANSWER_S)
        answer = coming.result()
        self.received_ns = self._clock.now_ns()
        latent: NDArray[np.float32] = pickle.loads(answer)["latent"]
        return latent

    def close(self) -> None:
        """Disconnect."""
        self._channel.close()


def _chunks(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _CHUNK_BYTES):
        yield data[start : start + _CHUNK_BYTES]


def serve_grpc(addresses: Addresses, stamp: Stamps, ready: Callable[[], None]) -> None:
    """Answers for as long as the process lives; see `bus_far.serve`."""
    grpc = _grpc()
    asked: Queue[int] = Queue(1)
    answers = latents()

    def receive(chunks: Iterator[bytes], context: object) -> bytes:
        del context
        observation = pickle.loads(b"".join(chunks))
        if observation["images"] and observation["images"][CAMERA].ndim != 3:
            raise ValueError("an image has three dimensions")
        asked.put(observation["payload"])
        return b""

    def reply(request: bytes, context: object) -> bytes:
        del request, context
        number = asked.get(timeout=ANSWER_S)
        making_ns = stamp.making()
        answer = pickle.dumps({"latent": answers[number]})
        stamp.sending(making_ns)
        return answer

    handlers = {
        _SEND: grpc.stream_unary_rpc_method_handler(receive),
        _GET: grpc.unary_unary_rpc_method_handler(reply),
    }
    server = grpc.server(ThreadPoolExecutor(4), options=_OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    server.add_insecure_port(addresses.up)
    server.start()
    ready()
    server.wait_for_termination()


def answer_bytes(latent: NDArray[np.float32]) -> int:
    """Size of an answer."""
    return len(pickle.dumps({"latent": latent}))
