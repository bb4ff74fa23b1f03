"""What a server process on an event loop needs."""

from __future__ import annotations

import sys

import pytest

from dualsys.errors import MissingExtraError
from dualsys.slow.shell import loop_factory


def test_without_its_event_loop_a_process_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dualsys\[slow\]'"):
        loop_factory()


def test_with_it_a_loop_is_made() -> None:
    loop = loop_factory()()
    assert not loop.is_running()
    loop.close()
