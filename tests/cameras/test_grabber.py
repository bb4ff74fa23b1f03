"""A thread that grabs frames from a library which is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from dualsys.cameras import grabber
from dualsys.cameras.contract import CameraSpec, Frame
from dualsys.cameras.grabber import SILENCE_NS, Grabber
from dualsys.clock import VirtualClock
from dualsys.errors import CameraError

from .scripted import ScriptedSource, image, until

SPEC = CameraSpec("wrist", 4, 2, 30.0)


@pytest.fixture
def source() -> ScriptedSource:
    return ScriptedSource(SPEC)


@pytest.fixture
def camera(source: ScriptedSource, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Grabber]:
    """Connected, with its first frame taken."""
    monkeypatch.setattr(grabber, "RETRY_S", 0.001)
    made = Grabber("wrist", source, clock, 20.0)
    source.answers.put(image(SPEC, 1))
    made.connect()
    assert made.read() is not None
    yield made
    source.answers.put(CameraError("the test is over"))
    made.close()


def test_the_newest_frame_is_read_once_with_the_stamp_of_its_arrival(
    source: ScriptedSource, camera: Grabber, clock: VirtualClock
) -> None:
    assert camera.spec == SPEC
    assert camera.read() is None
    clock.advance_ns(5)
    for value in (2, 3):
        source.answers.put(image(SPEC, value))
    frame = until(lambda: seen if (seen := camera.read()) and seen.image.max() == 3 else None)
    assert isinstance(frame, Frame)
    assert frame.t_ns == clock.now_ns()
    assert camera.read() is None


def lost(camera: Grabber) -> str:
    try:
        camera.read()
    except CameraError as error:
        return str(error)
    return ""


def test_a_camera_that_is_lost_is_an_error_and_comes_back(source: ScriptedSource, camera: Grabber) -> None:
    source.refuses = CameraError("still unplugged")
    source.answers.put(CameraError("unplugged"))
    until(lambda: "still unplugged" in lost(camera))
    source.refuses = None
    source.answers.put(image(SPEC, 9))

    def back() -> Frame | None:
        try:
            return camera.read()
        except CameraError:
            return None

    assert until(back).image.max() == 9
    assert source.closed >= 2


def test_a_fault_of_the_library_itself_is_told_and_not_fatal(source: ScriptedSource, camera: Grabber) -> None:
    source.answers.put(ZeroDivisionError("in the library"))
    source.refuses = CameraError("gone")
    assert until(lambda: lost(camera)) in ("cameras.wrist: ZeroDivisionError: in the library", "gone")
    source.refuses = None
    source.answers.put(image(SPEC))
    until(lambda: not lost(camera))


def test_a_library_that_hangs_is_told_of(camera: Grabber, clock: VirtualClock) -> None:
    clock.advance_ns(SILENCE_NS)
    assert camera.read() is None
    clock.advance_ns(1)
    with pytest.raises(CameraError, match=r"cameras.wrist: nothing for 2.0 s"):
        camera.read()


def test_one_that_comes_back_with_another_rate_is_welcome(source: ScriptedSource, camera: Grabber) -> None:
    # Libraries estimate the rate of a network camera anew whenever they connect.
    source.spec = CameraSpec("wrist", 4, 2, 29.97)
    source.answers.put(CameraError("unplugged"))
    source.answers.put(image(SPEC, 7))

    def back() -> Frame | None:
        try:
            return camera.read()
        except CameraError:
            return None

    assert until(back).image.max() == 7
    assert camera.spec.rate_hz == 29.97


def test_one_that_comes_back_with_another_size_is_refused(source: ScriptedSource, camera: Grabber) -> None:
    source.spec = CameraSpec("wrist", 8, 2, 30.0)
    source.answers.put(CameraError("unplugged"))
    told = until(lambda: fault if "came back" in (fault := lost(camera)) else None)
    assert "8x2 rgb8 at 30 Hz, expected 4x2 rgb8" in told


def test_after_the_last_frame_it_says_so(source: ScriptedSource, camera: Grabber) -> None:
    source.answers.put(None)
    assert until(lambda: lost(camera)) == "cameras.wrist: the last frame was shown"
    assert source.opened == 1


def test_one_that_cannot_be_reached_is_an_error_at_once(source: ScriptedSource, clock: VirtualClock) -> None:
    source.refuses = CameraError("no such device")
    camera = Grabber("wrist", source, clock, 20.0)
    with pytest.raises(CameraError, match="no such device"):
        camera.connect()
    with pytest.raises(CameraError, match="is not connected"):
        camera.read()
    source.refuses = None
    source.answers.put(image(SPEC))
    camera.connect()
    source.answers.put(CameraError("over"))
    camera.close()
    camera.close()


def test_one_that_delivers_nothing_is_an_error_in_time_and_does_not_hang_the_caller(
    source: ScriptedSource, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grabber, "CLOSE_S", 0.01)
    camera = Grabber("wrist", source, clock, 0.01)
    with pytest.raises(CameraError, match=r"no frame within 0\.01 s"):
        camera.connect()
    with pytest.raises(CameraError, match="still hangs"):
        camera.connect()
    source.answers.put(np.zeros((2, 4, 3), np.uint8))
    until(lambda: all("camera wrist" not in thread.name for thread in threading.enumerate()))


def test_what_it_delivers_is_not_known_before(source: ScriptedSource, clock: VirtualClock) -> None:
    with pytest.raises(CameraError, match="known once it is connected"):
        _ = Grabber("wrist", source, clock, 1.0).spec
