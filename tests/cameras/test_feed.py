"""What stands between a camera and the planner."""

from __future__ import annotations

import numpy as np
import pytest

from dualsys.cameras.contract import CameraSpec, Frame
from dualsys.cameras.feed import Feed
from dualsys.clock import NS_PER_MS, VirtualClock
from dualsys.errors import CameraError, MessageError, SpecError

from .scripted import ScriptedCamera, image

SPEC = CameraSpec("wrist", 8, 6, 30.0)


@pytest.fixture
def camera() -> ScriptedCamera:
    return ScriptedCamera(SPEC)


@pytest.fixture
def feed(camera: ScriptedCamera, clock: VirtualClock) -> Feed:
    made = Feed(camera, clock, max_age_ns=100 * NS_PER_MS)
    made.connect()
    return made


def test_a_good_frame_is_handed_on_with_its_own_stamp(
    camera: ScriptedCamera, feed: Feed, clock: VirtualClock
) -> None:
    stamp_ns = clock.now_ns() - 40 * NS_PER_MS
    camera.script = [Frame(stamp_ns, image(SPEC, 7)), None]
    frame = feed.read()
    assert frame is not None
    assert (frame.t_ns, frame.image.shape, frame.image.max()) == (stamp_ns, (6, 8, 3), 7)
    assert feed.read() is None
    assert (feed.statistics()["accepted"], feed.rejected) == (1, 0)


@pytest.mark.parametrize(
    ("age_ms", "shape", "dtype", "reason"),
    [
        (101, (6, 8, 3), np.uint8, "stale"),
        (-1, (6, 8, 3), np.uint8, "from_the_future"),
        (0, (8, 6, 3), np.uint8, "wrong_size"),
        (0, (6, 8), np.uint8, "wrong_size"),
        (0, (6, 8, 3), np.float32, "wrong_size"),
    ],
)
def test_a_bad_frame_is_rejected_and_counted_by_its_reason(
    camera: ScriptedCamera, feed: Feed, clock: VirtualClock, age_ms: int, shape: tuple[int, ...], dtype: type,
    reason: str,
) -> None:  # fmt: skip
    camera.script = [Frame(clock.now_ns() - age_ms * NS_PER_MS, np.zeros(shape, dtype))]
    assert feed.read() is None
    assert (feed.statistics()[reason], feed.rejected) == (1, 1)
    assert "wrist" in feed.last_fault
    camera.script = [Frame(clock.now_ns(), image(SPEC))]
    assert feed.read() is not None


def test_a_frame_that_comes_twice_is_shown_once(
    camera: ScriptedCamera, feed: Feed, clock: VirtualClock
) -> None:
    frame = Frame(clock.now_ns(), image(SPEC))
    camera.script = [frame, frame, Frame(clock.now_ns() - 1, image(SPEC))]
    assert [feed.read() is not None for _ in range(3)] == [True, False, False]
    assert feed.statistics()["not_newer"] == 2


def test_what_is_no_image_is_counted_and_survived(camera: ScriptedCamera, feed: Feed) -> None:
    camera.script = [MessageError("not a JPEG"), SpecError("no")]
    assert [feed.read(), feed.read()] == [None, None]
    assert feed.statistics()["unreadable"] == 2


def test_a_camera_that_is_lost_is_counted_once_until_it_is_back(
    camera: ScriptedCamera, feed: Feed, clock: VirtualClock
) -> None:
    gone = CameraError("unplugged")
    camera.script = [gone, gone, Frame(clock.now_ns(), image(SPEC)), gone]
    seen = [(feed.read() is not None, feed.statistics()["lost"]) for _ in range(3)]
    assert seen == [(False, "True"), (False, "True"), (True, "False")]
    assert feed.read() is None
    assert (feed.statistics()["losses"], feed.last_fault, feed.rejected) == (2, "unplugged", 0)


def test_frames_of_any_encoding_come_out_as_rgb(clock: VirtualClock) -> None:
    blue = np.zeros((6, 8, 3), np.uint8)
    blue[:, :, 0] = 200
    for encoding, given, colour in [
        ("bgr8", blue, [0, 0, 200]),
        ("rgb8", blue, [200, 0, 0]),
        ("mono8", blue[:, :, 0], [200, 200, 200]),
    ]:
        camera = ScriptedCamera(CameraSpec("wrist", 8, 6, 30.0, encoding))  # type: ignore[arg-type]
        feed = Feed(camera, clock, wanted=(3, 4))
        feed.connect()
        camera.script = [Frame(clock.now_ns(), given)]
        frame = feed.read()
        assert frame is not None
        assert frame.image.shape == (3, 4, 3)
        assert frame.image[1, 1].tolist() == colour


def test_a_camera_of_another_shape_is_refused_and_let_go(camera: ScriptedCamera, clock: VirtualClock) -> None:
    with pytest.raises(CameraError, match=r"cameras.wrist: 8x6 pixels do not fit into 4x4"):
        Feed(camera, clock, wanted=(4, 4)).connect()
    assert camera.closed


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"width": 0}, "width"), ({"height": 5000}, "height"), ({"rate_hz": 0.0}, "rate_hz"),
     ({"rate_hz": float("nan")}, "rate_hz"), ({"encoding": "yuyv"}, "encoding")],
)  # fmt: skip
def test_a_specification_that_makes_no_sense_names_the_field(changed: dict[str, object], named: str) -> None:
    fields: dict[str, object] = {"name": "wrist", "width": 8, "height": 6, "rate_hz": 30.0} | changed
    with pytest.raises(SpecError, match=rf"camera 'wrist': {named}: expected"):
        CameraSpec(**fields)  # type: ignore[arg-type]
