"""Rules of Ctrl-C."""

from __future__ import annotations

import signal

import pytest

from dualsys.supervisor.interrupts import InterruptedRunError, Interrupts


@pytest.mark.fault_row(45)
def test_once_asks_for_the_end_and_twice_kills() -> None:
    killed: list[bool] = []
    with Interrupts(lambda: killed.append(True)) as interrupts:
        assert not interrupts.asked
        signal.raise_signal(signal.SIGINT)
        assert interrupts.asked
        assert killed == []
        with pytest.raises(SystemExit) as caught:
            signal.raise_signal(signal.SIGTERM)
    assert killed == [True]
    assert caught.value.code == 128 + signal.SIGTERM


def test_the_first_breaks_off_what_would_not_look() -> None:
    went_on: list[str] = []

    def wait() -> None:
        signal.raise_signal(signal.SIGINT)
        went_on.append("although it was broken off")

    with Interrupts(lambda: None) as interrupts:
        interrupts.check()
        with pytest.raises(InterruptedRunError, match="stopped by the operator"), interrupts.breaking_off():
            wait()
        with pytest.raises(InterruptedRunError), interrupts.breaking_off():
            went_on.append("although the end was asked for before")
        with pytest.raises(InterruptedRunError):
            interrupts.check()
    assert went_on == []


def test_elsewhere_the_first_breaks_nothing_off() -> None:
    with Interrupts(lambda: None) as interrupts:
        with interrupts.breaking_off():
            pass
        signal.raise_signal(signal.SIGINT)
        assert interrupts.asked


@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_is_closed_asks_for_the_end_unless_that_is_ignored(ignored: bool) -> None:
    # Whoever runs the tests may ignore it themselves.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with Interrupts(lambda: None) as interrupts:
            signal.raise_signal(signal.SIGHUP)
            assert interrupts.asked is not ignored
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_handlers_before_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts(lambda: None):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
