"""Rules about addresses that others use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dualsys.bus.service import ServiceServer
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.errors import AddressInUseError
from dualsys.supervisor.addresses import require_free


@pytest.fixture
def context() -> Iterator[ZmqContext]:
    """A context of one test."""
    context = open_context()
    yield context
    close_context(context)


def test_an_address_of_another_run_is_named_with_its_setting(context: ZmqContext, tmp_path: Path) -> None:
    taken = ServiceServer(context, "tcp://127.0.0.1:*", setting="endpoints.slow.service")
    free = f"ipc://{tmp_path}/free"
    with pytest.raises(AddressInUseError, match=r"in use by another process.*'endpoints\.slow\.service'"):
        require_free({"endpoints.slow.latent": free, "endpoints.slow.service": taken.endpoint})
    taken.close()


def test_free_addresses_stay_free(context: ZmqContext, tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/free"
    for _ in range(2):
        require_free({"endpoints.slow.service": address})
    ServiceServer(context, address, setting="endpoints.slow.service").close()
