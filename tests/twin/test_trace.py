from __future__ import annotations

import numpy as np
import pytest

from dualsys.messages import Reply
from dualsys.twin.trace import Trace


def filled(command: float = 0.5, t_ns: int = 8, detail: str = "ab") -> str:
    trace = Trace()
    trace.command(t_ns, np.full(8, command))
    trace.command(12, None)
    trace.event(12, "said", detail)
    trace.message(13, Reply(ok=True))
    return trace.hexdigest()


def test_the_same_happenings_have_the_same_digest() -> None:
    assert filled() == filled()


@pytest.mark.parametrize(
    "other", [filled(command=np.nextafter(0.5, 1.0)), filled(t_ns=9), filled(detail="ac"), filled(detail="")]
)
def test_one_bit_of_difference_shows(other: str) -> None:
    assert filled() != other


def test_events_cannot_run_together() -> None:
    first, second = Trace(), Trace()
    first.event(0, "a", "bc")
    second.event(0, "ab", "c")

    assert first.hexdigest() != second.hexdigest()
