"""What OpenCV reaches."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dualsys.cameras.contract import CameraSpec
from dualsys.cameras.opencv import OpenCvSource
from dualsys.cameras.registry import CAMERAS, CameraSettings
from dualsys.clock import VirtualClock, WallClock
from dualsys.errors import CameraError, MissingExtraError

from .scripted import ScriptedCv2, until


@pytest.fixture
def cv2(monkeypatch: pytest.MonkeyPatch) -> ScriptedCv2:
    made = ScriptedCv2(640, 480)
    monkeypatch.setitem(sys.modules, "cv2", made)
    return made


def source(
    clock: VirtualClock, device: Any = "/dev/video0", fourcc: str | None = None, **settings: Any
) -> OpenCvSource:
    options = {"device": device} | ({"fourcc": fourcc} if fourcc else {})
    return OpenCvSource(CameraSettings("wrist", clock, options=options, **settings))


def test_a_device_is_asked_for_size_rate_and_format_and_keeps_no_old_frames(
    cv2: ScriptedCv2, clock: VirtualClock
) -> None:
    made = source(clock, fourcc="MJPG", width=640, height=480, rate_hz=30.0)
    assert made.open() == CameraSpec("wrist", 640, 480, 30.0, "bgr8")
    assert cv2.opened_with == ("/dev/video0", cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
    assert cv2.asked == {6: 0x47504A4D, 3: 640, 4: 480, 5: 30.0, 38: 1}
    assert made.grab().shape == (480, 640, 3)
    made.close()
    made.close()
    assert cv2.released == 1


def test_a_stream_is_left_to_whatever_can_open_it(cv2: ScriptedCv2, clock: VirtualClock) -> None:
    source(clock, "rtsp://192.0.2.1/stream").open()
    assert cv2.opened_with == ("rtsp://192.0.2.1/stream", cv2.CAP_ANY)


def test_a_size_that_the_camera_does_not_have_is_refused_with_both(
    cv2: ScriptedCv2, clock: VirtualClock
) -> None:
    cv2.native = (320, 240)
    with pytest.raises(CameraError, match=r"asked for 640x480, /dev/video0 delivers 320x240"):
        source(clock, width=640, height=480).open()


def test_a_rate_that_is_not_told_is_the_one_that_was_asked_for(cv2: ScriptedCv2, clock: VirtualClock) -> None:
    cv2.fps = 0.0
    assert source(clock, rate_hz=15.0).open().rate_hz == 15.0
    assert source(clock).open().rate_hz == 30.0


def test_a_device_that_is_not_there_is_an_error_that_names_it(cv2: ScriptedCv2, clock: VirtualClock) -> None:
    cv2.there.clear()
    with pytest.raises(CameraError, match=r"cameras\.wrist: 7 cannot be opened; there "):
        source(clock, 7).open()


def test_frames_that_stop_are_an_error(cv2: ScriptedCv2, clock: VirtualClock) -> None:
    made = source(clock)
    made.open()
    cv2.there.clear()
    with pytest.raises(CameraError, match="delivers no frames"):
        made.grab()
    cv2.raises = cv2.error("select() timeout")
    with pytest.raises(CameraError, match="select"):
        made.grab()


@pytest.mark.parametrize(
    "options", [{}, {"device": True}, {"device": 0, "fourcc": "MJPEG"}, {"device": 0, "x": 1}]
)
def test_a_wrong_option_is_refused_by_name(
    cv2: ScriptedCv2, clock: VirtualClock, options: dict[str, Any]
) -> None:
    with pytest.raises(CameraError, match=r"cameras\.wrist[.:] ?options"):
        OpenCvSource(CameraSettings("wrist", clock, options=options))
    assert cv2.opened_with is None


def test_without_the_library_it_says_how_to_get_it(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dualsys\[opencv\]'"):
        source(clock)


def test_a_camera_that_was_unplugged_is_opened_anew(
    cv2: ScriptedCv2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualsys.cameras.grabber.RETRY_S", 0.001)
    settings = CameraSettings("wrist", WallClock(), options={"device": 0})
    camera = CAMERAS.named("opencv").open(settings)
    camera.connect()

    def lost() -> bool:
        try:
            camera.read()
        except CameraError:
            return True
        return False

    assert cv2.opened == 1
    cv2.there.clear()
    until(lost)
    cv2.there.set()
    until(lambda: not lost())
    camera.close()
    assert cv2.opened == cv2.released > 1


def test_the_real_library_opens_a_film(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    path = tmp_path / "film.avi"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuvj420p"
        for _ in range(3):
            red = np.zeros((16, 32, 3), np.uint8)
            red[:, :, 0] = 250
            container.mux(stream.encode(av.VideoFrame.from_ndarray(red, format="rgb24")))
        container.mux(stream.encode(None))
    made = OpenCvSource(CameraSettings("wrist", WallClock(), options={"device": str(path)}))
    assert made.open() == CameraSpec("wrist", 32, 16, 30.0, "bgr8")
    assert made.grab()[8, 16, 2] > 200
    made.close()
    gone = OpenCvSource(CameraSettings("wrist", WallClock(), options={"device": str(tmp_path / "none.avi")}))
    with pytest.raises(CameraError, match="cannot be opened"):
        gone.open()
