"""The colour stream of a RealSense."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dualsys.cameras.contract import CameraSpec
from dualsys.cameras.realsense import RealSenseSource
from dualsys.cameras.registry import CameraSettings
from dualsys.clock import VirtualClock
from dualsys.errors import CameraError, MissingExtraError


class ScriptedRealSense:
    """As much of `pyrealsense2` as the driver uses: config, pipeline and frames in one."""

    stream = SimpleNamespace(color="color")
    format = SimpleNamespace(rgb8="rgb8")

    def __init__(self) -> None:
        self.fault = ""
        self.calls: list[tuple[Any, ...]] = []
        self.memory = np.full((480, 640, 3), 5, np.uint8)

    def config(self) -> Any:
        return SimpleNamespace(
            enable_device=lambda serial: self.calls.append(("device", serial)),
            enable_stream=lambda *mode: self.calls.append(("stream", *mode)),
        )

    def pipeline(self) -> Any:
        return SimpleNamespace(
            start=self._raise_or, stop=lambda: self.calls.append(("stop",)), wait_for_frames=self._wait
        )

    def _raise_or(self, value: Any) -> Any:
        if self.fault:
            raise RuntimeError(self.fault)
        return value

    def _wait(self, timeout_ms: int) -> Any:
        frame = SimpleNamespace(get_data=lambda: self.memory)
        return self._raise_or(SimpleNamespace(get_color_frame=lambda: frame, timeout_ms=timeout_ms))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ScriptedRealSense:
    made = ScriptedRealSense()
    monkeypatch.setitem(sys.modules, "pyrealsense2", made)
    return made


def test_the_colour_stream_is_asked_for_and_frames_are_copied(
    library: ScriptedRealSense, clock: VirtualClock
) -> None:
    source = RealSenseSource(CameraSettings("fixed", clock, options={"serial": "0123"}))
    assert source.open() == CameraSpec("fixed", 640, 480, 30.0, "rgb8")
    assert library.calls == [("device", "0123"), ("stream", "color", 640, 480, "rgb8", 30)]
    image = source.grab()
    library.memory[:] = 9
    assert image.max() == 5
    source.close()
    source.close()
    assert library.calls.count(("stop",)) == 1


def test_a_camera_that_is_not_there_or_goes_is_an_error(
    library: ScriptedRealSense, clock: VirtualClock
) -> None:
    source = RealSenseSource(CameraSettings("fixed", clock))
    library.fault = "No device connected"
    with pytest.raises(CameraError, match=r"640x480 at 30 Hz: No device connected; is it plugged in"):
        source.open()
    library.fault = ""
    source.open()
    library.fault = "Frame didn't arrive within 1000"
    with pytest.raises(CameraError, match="no frame within 1000 ms"):
        source.grab()


def test_without_the_library_it_says_how_to_get_it(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dualsys\[realsense\]'"):
        RealSenseSource(CameraSettings("fixed", clock))


def test_a_library_that_lacks_one_of_its_own_says_what_to_install(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pyrealsense2.py").write_text("raise ImportError('libusb-1.0.so.0: cannot open')", "utf-8")
    monkeypatch.delitem(sys.modules, "pyrealsense2", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CameraError, match=r"cannot be loaded: libusb-1\.0\.so\.0.*apt install libusb"):
        RealSenseSource(CameraSettings("fixed", clock))


def test_the_real_library_says_that_no_camera_is_there(clock: VirtualClock) -> None:
    library = pytest.importorskip("pyrealsense2", exc_type=ImportError)
    if len(library.context().query_devices()):
        pytest.skip("there is a camera")
    with pytest.raises(CameraError, match="is it plugged in"):
        RealSenseSource(CameraSettings("fixed", clock)).open()
