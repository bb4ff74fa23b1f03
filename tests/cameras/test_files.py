"""Images and videos that play as a camera would."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import simplejpeg

from dualsys.cameras.contract import CameraSpec
from dualsys.cameras.files import FileSource
from dualsys.cameras.registry import CAMERAS, CameraSettings
from dualsys.clock import NS_PER_S, VirtualClock, WallClock
from dualsys.errors import CameraError, MissingExtraError

from .scripted import until

GREYS = (10, 100, 200)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three JPEGs that tell their place by their grey, and a file that is no image."""
    for number, grey in enumerate(GREYS):
        pixels = np.full((6, 8, 3), grey, np.uint8)
        (tmp_path / f"{number:03}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels, 95))
    (tmp_path / "notes.txt").write_text("no image", "utf-8")
    return tmp_path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=Fraction(20))
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for grey in GREYS:
            frame = av.VideoFrame.from_ndarray(np.full((16, 32, 3), grey, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def source(clock: VirtualClock, path: Path, loop: bool = True, **settings: Any) -> FileSource:
    return FileSource(CameraSettings("wrist", clock, options={"path": str(path), "loop": loop}, **settings))


def greys(played: FileSource, count: int) -> list[int | None]:
    images = [played.grab() for _ in range(count)]
    return [
        None if image is None else min(GREYS, key=lambda g: abs(g - float(image.mean()))) for image in images
    ]


def test_a_folder_plays_in_the_order_of_its_names_at_its_rate(folder: Path, clock: VirtualClock) -> None:
    played = source(clock, folder, rate_hz=10.0)
    assert played.open() == CameraSpec("wrist", 8, 6, 10.0)
    start_ns = clock.now_ns()
    assert greys(played, 4) == [10, 100, 200, 10]
    assert clock.now_ns() - start_ns == 3 * NS_PER_S // 10


def test_what_does_not_begin_again_ends(folder: Path, video: Path, clock: VirtualClock) -> None:
    video.rename(folder.parent / "film.mp4")
    for path in (folder, folder.parent / "film.mp4"):
        played = source(clock, path, loop=False)
        played.open()
        assert greys(played, 4) == [10, 100, 200, None]


def test_a_video_plays_at_its_own_rate_and_begins_again(video: Path, clock: VirtualClock) -> None:
    played = source(clock, video)
    assert played.open() == CameraSpec("wrist", 32, 16, 20.0)
    start_ns = clock.now_ns()
    assert greys(played, 5) == [10, 100, 200, 10, 100]
    assert clock.now_ns() - start_ns == 4 * NS_PER_S // 20
    played.close()
    assert played.open().rate_hz == 20.0
    assert greys(played, 1) == [10]


def test_after_a_delay_nothing_is_made_up_for(folder: Path, clock: VirtualClock) -> None:
    played = source(clock, folder, rate_hz=10.0)
    played.open()
    greys(played, 1)
    clock.advance_ns(NS_PER_S)
    late_ns = clock.now_ns()
    greys(played, 3)
    assert clock.now_ns() - late_ns == 2 * NS_PER_S // 10


def test_other_images_than_jpeg_play_too(tmp_path: Path, clock: VirtualClock) -> None:
    path = tmp_path / "one.png"
    with av.open(str(path), "w", format="image2") as container:
        stream: Any = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 8, 6, "rgb24"
        frame = av.VideoFrame.from_ndarray(np.full((6, 8, 3), 100, np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
    played = source(clock, tmp_path)
    assert played.open().width == 8
    assert greys(played, 2) == [100, 100]


@pytest.mark.parametrize(
    ("name", "content", "wrong"),
    [
        ("nothing", None, "there is no folder or video"),
        ("film.mp4", b"no film at all", "cannot be opened as a video"),
        ("empty", "folder", "has no images"),
        ("broken", "jpeg", "cannot be decoded"),
    ],
)
def test_what_cannot_be_played_is_an_error_that_names_it(
    tmp_path: Path, clock: VirtualClock, name: str, content: str | bytes | None, wrong: str
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        path.mkdir()
        if content == "jpeg":
            (path / "0.jpg").write_bytes(b"\xff\xd8 no more than that")
    with pytest.raises(CameraError, match=rf"cameras\.wrist: .*{name}.*|{wrong}") as caught:
        source(clock, path).open()
    assert wrong in str(caught.value)


def test_another_size_than_asked_for_is_refused_with_both(folder: Path, clock: VirtualClock) -> None:
    with pytest.raises(CameraError, match=r"asked for 16x6, .* has 8x6"):
        source(clock, folder, width=16).open()


@pytest.mark.parametrize("options", [{}, {"path": 5}, {"path": "x", "speed": 2}, {"path": "x", "loop": 1}])
def test_a_wrong_option_is_refused_by_name(clock: VirtualClock, options: dict[str, Any]) -> None:
    with pytest.raises(CameraError, match=r"cameras\.wrist\.options"):
        FileSource(CameraSettings("wrist", clock, options=options))


def test_a_video_without_the_library_says_how_to_get_it(
    video: Path, folder: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dualsys\[video\]'"):
        source(clock, video)
    video.unlink()
    assert source(clock, folder).open().width == 8


def test_the_driver_plays_in_a_thread_of_its_own(folder: Path) -> None:
    settings = CameraSettings("wrist", WallClock(), rate_hz=500.0, options={"path": str(folder)})
    camera = CAMERAS.named("files").open(settings)
    camera.connect()
    first, second = until(camera.read), until(camera.read)
    assert first.t_ns < second.t_ns
    camera.close()
