"""The cameras of a configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from dualsys.bus.channel import LatestPublisher
from dualsys.bus.codec import to_image
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.cameras.contract import Frame
from dualsys.cameras.registry import CAMERAS, GROUP, CameraDriver, CameraSettings
from dualsys.cameras.wanted import close_feeds, feeds_of, wanted_by
from dualsys.clock import VirtualClock
from dualsys.config import SystemConfig, load_config
from dualsys.errors import CameraError, ConfigError
from dualsys.messages import CameraFrame
from dualsys.specs import ObservationSpec, TensorSpec

from .scripted import CLOCK, until

WANTED = {"fixed": (6, 8), "wrist": (4, 4)}


@pytest.fixture
def context() -> Iterator[ZmqContext]:
    made = open_context()
    yield made
    close_context(made)


def config_with(tmp_path: Path, cameras: str) -> SystemConfig:
    path = tmp_path / "a.yaml"
    ends = f"endpoints: {{robot: {{cameras: 'ipc://{tmp_path}/cameras'}}}}\n"
    path.write_text(f"name: a\n{ends}cameras: {cameras}\n", encoding="utf-8")
    return load_config(path)


def test_models_want_a_wrist_camera_and_those_that_system_2_is_shown() -> None:
    fixed, wrist = TensorSpec((6, 8, 3), "uint8"), TensorSpec((4, 4, 3), "uint8")
    assert wanted_by(ObservationSpec({"fixed": fixed}, TensorSpec((9,))), wrist) == WANTED


def test_cameras_that_are_not_named_come_over_the_bus_and_others_by_their_drivers(
    tmp_path: Path, context: ZmqContext
) -> None:
    (tmp_path / "images").mkdir()
    pixels = np.full((8, 8, 3), 100, np.uint8)
    (tmp_path / "images" / "0.jpg").write_bytes(simplejpeg.encode_jpeg(pixels))
    config = config_with(tmp_path, f"{{wrist: {{driver: files, options: {{path: '{tmp_path}/images'}}}}}}")
    feeds = feeds_of(config, WANTED, context, CLOCK)
    publisher = LatestPublisher(context, f"ipc://{tmp_path}/cameras", bind=True, setting="test")
    try:
        for feed in feeds.values():
            feed.connect()

        def fixed() -> Frame | None:
            image = to_image(np.full((6, 8, 3), 7, np.uint8))
            publisher.send(CameraFrame(camera="fixed", seq=0, t_robot_ns=0, image=image), b"fixed")
            return feeds["fixed"].read()

        assert until(fixed).image.max() == 7
        frame = until(feeds["wrist"].read)
        assert frame.image.shape == (4, 4, 3)
        assert abs(int(frame.image.mean()) - 100) <= 2
    finally:
        publisher.close()
        close_feeds(feeds)


def test_frames_of_the_bus_that_are_of_another_size_are_counted(tmp_path: Path, context: ZmqContext) -> None:
    feed = feeds_of(config_with(tmp_path, "{}"), WANTED, context, CLOCK)["wrist"]
    feed.connect()
    publisher = LatestPublisher(context, f"ipc://{tmp_path}/cameras", bind=True, setting="test")
    image = to_image(np.zeros((5, 4, 3), np.uint8))

    def rejected() -> int:
        publisher.send(CameraFrame(camera="wrist", seq=0, t_robot_ns=0, image=image), b"wrist")
        assert feed.read() is None
        return feed.rejected

    until(rejected)
    publisher.close()
    feed.close()
    assert "wrong_size" in {name for name, count in feed.statistics().items() if count == feed.rejected}


def test_a_camera_that_nobody_wants_is_a_fault_of_the_configuration(
    tmp_path: Path, context: ZmqContext
) -> None:
    config = config_with(tmp_path, "{ceiling: {driver: files}}")
    with pytest.raises(ConfigError, match=r"cameras\.ceiling: expected one that .* through: fixed, wrist"):
        feeds_of(config, WANTED, context, CLOCK)


def test_an_unknown_driver_and_a_wrong_setting_are_named_with_their_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config_with(tmp_path, "{wrist: {driver: toaster, widht: 3, fit: squeeze, rate_hz: 0}, 'a b': {}}")
    faults = "\n".join(caught.value.faults)
    assert "cameras.wrist.driver: got 'toaster', expected one of files, link, opencv, realsense" in faults
    assert f"entry points of the group {GROUP!r}" in faults
    assert "cameras.wrist.widht: is not a setting; did you mean cameras.NAME.width?" in faults
    assert "cameras.wrist.fit: got 'squeeze', expected 'crop' or 'pad' or 'stretch', or null" in faults
    assert "cameras.wrist.rate_hz: got 0 Hz, expected a number, more than 0 to 1000 Hz" in faults
    assert "cameras.a b" in faults


def test_a_setting_of_one_camera_can_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: a\n", encoding="utf-8")
    given = {
        "cameras.wrist.driver": "opencv",
        "cameras.wrist.width": "640",
        "cameras.wrist.options.device": "0",
    }
    camera = load_config(path, given).cameras["wrist"]
    assert (camera.driver, camera.width, camera.options) == ("opencv", 640, {"device": 0})


def test_a_size_must_be_known_for_frames_of_the_bus(clock: VirtualClock) -> None:
    with pytest.raises(CameraError, match="give width and height"):
        CAMERAS.named("link").open(CameraSettings("wrist", clock))


def test_a_driver_with_a_missing_library_is_known_to_have_none() -> None:
    assert not CameraDriver("", open=CAMERAS.named("link").open, library="no_such_library").usable
    assert CAMERAS.named("files").usable
