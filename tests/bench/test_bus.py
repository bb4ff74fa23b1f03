"""The benchmark of the bus: every line moves the same latents, and is judged by the ratios of its turns."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from dualsys.bench import bus
from dualsys.bench.bus import (
    LINES,
    MESSAGE,
    ONE_WAY,
    ROUND_TRIP,
    Bar,
    Cell,
    Options,
    bars,
    chosen_lines,
    ratio,
)
from dualsys.bench.bus_codecs import codec_rows
from dualsys.bench.bus_ours import frame_of, observation, packet
from dualsys.bench.bus_page import bounds, page, verdict, write_page
from dualsys.bench.bus_payloads import CAMERA, NAMES, Exchanged, Line, Near, Stamps, latents
from dualsys.bench.bus_raw import raw_frames
from dualsys.bus.channel import LatestPublisher
from dualsys.errors import BusError, ConfigError, MissingExtraError
from dualsys.messages import Message

IMAGE = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def cell(line: Line, payload: str, *medians_us: float) -> Cell:
    """A cell whose turns have these medians, in every column."""
    turns = [np.full((3, 3), round(1000 * value), np.int64) for value in medians_us]
    return Cell(line, payload, 10, 20, turns)


@pytest.mark.parametrize(
    "line", [Line("ours", "ipc"), Line("ours", "tcp+curve"), Line("typed", "ipc"), *LINES[-2:]]
)
def test_every_line_brings_the_latent_that_was_asked_for(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in bus._PACKAGES.get(line.contender, ()):
        pytest.importorskip(package)
    brought: list[NDArray[np.float32]] = []
    exchange = bus._exchange

    def watched(near: Near, *arguments: Any) -> Exchanged:
        class Watched:
            def exchange(self, number: int, images: Mapping[str, Any]) -> NDArray[np.float32]:
                brought.append(near.exchange(number, images))
                self.received_ns = near.received_ns
                np.testing.assert_array_equal(brought[-1], latents()[number])
                return brought[-1]

        return exchange(Watched(), *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(bus, "_exchange", watched)
    monkeypatch.setattr(bus, "WARM_UP", 1)
    options = Options(rounds=2, exchanges=3, pause_ms=0)
    cells = bus.measure(options, [line], ["64 KB", "observation"], IMAGE)
    assert len(brought) == 2 * (1 + 2 * 3)
    for one in cells:
        assert [turn.shape for turn in one.turns] == [(3, 3)] * 2
        times = np.concatenate(one.turns)
        assert (times > 0).all()
        assert (times[:, ROUND_TRIP] > times[:, ONE_WAY]).all()
        assert (times[:, ONE_WAY] >= times[:, MESSAGE]).all()
    sizes = {one.payload: (one.up_bytes, one.down_bytes) for one in cells}
    assert 64 * 1024 < sizes["64 KB"][1] < 64 * 1024 + 512
    assert IMAGE.nbytes < sizes["observation"][0] < IMAGE.nbytes + 512


def test_the_floor_moves_as_many_bytes_as_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "WARM_UP", 1)
    options = Options(rounds=1, exchanges=2, pause_ms=0)
    (raw,) = bus.measure(options, [Line("raw", "tcp+curve")], ["1 KB"], IMAGE)
    assert raw.turns[0].shape == (2, 3)
    assert (raw.up_bytes, raw.down_bytes) == bus._sizes("ours", "1 KB", {})


def test_the_floor_moves_the_very_bytes_of_ours() -> None:
    images = {CAMERA: IMAGE}
    asked = observation(NAMES.index("observation"), 1, images)
    questions, answers = raw_frames(images)
    assert [number for number, _ in enumerate(NAMES)] == [frame[0] for frame in questions]
    assert questions[NAMES.index("observation")][1:] == frame_of(asked)[1:]
    for latent, answer in zip(latents(), answers, strict=True):
        assert answer == frame_of(packet(observation(0, 1, {}), latent))
        assert latent.tobytes() in answer


def test_a_question_that_was_held_back_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    send, asked = LatestPublisher.send, []

    def forget_the_first(self: LatestPublisher, message: Message, topic: bytes | None = None) -> None:
        asked.append(message)
        if len(asked) > 1:
            send(self, message, topic)

    with bus._line(Line("ours", "ipc"), tmp_path, bus.make_homes(tmp_path), {}) as (near, _):
        monkeypatch.setattr(LatestPublisher, "send", forget_the_first)
        np.testing.assert_array_equal(near.exchange(1, {}), latents()[1])
    assert len(asked) > 1


def test_the_page_tells_what_is_below_ours_as_far_as_it_was_measured() -> None:
    cells = [
        cell(Line("raw", "ipc"), "64 KB", 100, 200, 400),
        cell(Line("typed", "ipc"), "64 KB", 130, 250, 600),
        cell(Line("typed", "tcp"), "64 KB", 130, 250, 600),
    ]
    assert ratio(cells, "typed ipc", "raw ipc", "64 KB", MESSAGE) == pytest.approx((1.275, 1.3, 1.4))
    assert ratio(cells, "typed tcp", "raw tcp", "64 KB", MESSAGE) is None
    text = "\n".join(bounds(cells))
    assert "| 64 KB latent, message, msgspec over raw pyzmq to raw pyzmq, ipc | 1.30 (1.27 to 1.40) |" in text
    assert "tcp" not in text
    assert bounds(cells[:1]) == []


def test_a_far_end_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus.sys, "executable", shutil.which("false"))
    with pytest.raises(BusError, match="the far end of ours ipc failed with code 1"):
        bus.measure(Options(rounds=1), [Line("ours", "ipc")], ["1 KB"], IMAGE)


def test_bars_compare_turns_of_the_same_round() -> None:
    cells = [
        cell(Line("raw", "tcp"), "64 KB", 100, 200, 400),
        cell(Line("ours", "tcp"), "64 KB", 110, 220, 440),
        cell(Line("ours", "tcp"), "observation", 100, 100, 100),
        cell(Line("websocket", "tcp"), "observation", 290, 290, 500),
    ]
    found = {bar.says: bar for bar in bars(cells)}
    assert len(found) == 6
    for says, bar in found.items():
        if "ipc" in says or "grpc" in says:
            assert (bar.ratio, bar.met) == (None, None)
            assert verdict(bar).endswith("not measured")
        elif "latent, " in says:
            assert bar.ratio == pytest.approx(1.1)
            assert bar.met
        else:
            assert bar.ratio == pytest.approx(2.9)
            assert bar.met is False
            assert "MISSED, 2.90" in verdict(bar)


def test_quantiles_are_over_all_exchanges() -> None:
    one = Cell(
        Line("raw", "ipc"), "1 KB", 1, 2, [np.array([[1000, 2000, 3000]]), np.array([[3000, 4000, 5000]])]
    )
    assert one.quantile_us(ROUND_TRIP, 0.5) == 2.0
    assert one.quantile_us(MESSAGE, 1.0) == 5.0
    assert one.medians_us(ONE_WAY).tolist() == [2.0, 4.0]


def test_durations_are_those_of_the_stamps(tmp_path: Path) -> None:
    assert bus.durations([Exchanged(10, 40, 60, 100, 200)]).tolist() == [[190, 160, 40]]
    Stamps.create(tmp_path / "stamps")
    with Stamps(tmp_path / "stamps") as far, Stamps(tmp_path / "stamps") as near:
        making_ns = far.making()
        far.sending(making_ns)
        began_ns, sent_ns = near.read_ns()
        assert began_ns == making_ns
        assert making_ns <= sent_ns <= near.making()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(lines="ours carrier_pigeon"), "--lines: got 'ours carrier_pigeon', expected raw ipc"),
        (Options(payloads="2 KB"), "--payloads: got '2 KB'"),
        (Options(rounds=0), "--rounds: got 0"),
        (Options(exchanges=10**6), "--exchanges"),
        (Options(pause_ms=-1), "--pause-ms: got -1"),
        (Options(scenes=-1), "--scenes"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options: Options, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        chosen_lines(options)


def test_all_lines_and_payloads_are_measured_unless_told_otherwise() -> None:
    lines, payloads = chosen_lines(Options())
    assert lines == list(LINES)
    assert payloads == list(NAMES)
    assert chosen_lines(Options(lines="ours tcp, raw ipc", payloads="1 MB"))[0] == [
        Line("raw", "ipc"),
        Line("ours", "tcp"),
    ]


@pytest.mark.parametrize(("module", "contender"), [("websockets", "websocket"), ("grpc", "grpc")])
def test_a_contender_that_is_not_installed_is_named_with_its_extra(
    module: str, contender: str, missing: Callable[[str], None]
) -> None:
    missing(module)
    with pytest.raises(MissingExtraError, match=rf"needs '{module}': pip install 'dualsys\[bench\]'"):
        bus.measure(Options(rounds=1), [Line(contender, "tcp")], ["1 KB"], IMAGE)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a package as if it were not installed."""

    def hide(package: str) -> None:
        def refuse(name: str) -> Any:
            if name.split(".")[0] == package:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return import_module(name)

        monkeypatch.setattr("dualsys.telemetry.extras.import_module", refuse)

    return hide


def test_codecs_are_compared_by_size_and_error(rng: np.random.Generator) -> None:
    samples = [rng.standard_normal((8, 128)).astype(np.float32) for _ in range(3)]
    rows = {row.name: row for row in codec_rows(samples, IMAGE)}
    assert [rows[name].bytes for name in ("float32", "float16", "bfloat16", "int8")] == [
        4096,
        2048,
        2048,
        1056,
    ]
    assert rows["float32"].largest_error == 0
    assert 0 < rows["float16"].rms_error < rows["bfloat16"].rms_error < rows["int8"].rms_error < 0.02
    assert 0.999 < rows["int8"].cosine < rows["float16"].cosine <= 1
    assert rows["image, raw"].largest_error == 0
    assert rows["image, JPEG 90"].bytes > rows["image, JPEG 80"].bytes


def test_the_page_has_every_line_the_bars_and_how_to_repeat_it(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    pytest.importorskip("matplotlib")
    cells = [cell(line, payload, 100, 300) for line in LINES for payload in NAMES]
    rows = codec_rows([rng.standard_normal((8, 128)).astype(np.float32)], IMAGE)
    judged = [Bar("as fast as light: at most 1", 1.5, 1.4, 1.6, False), *bars(cells)]
    written = write_page(tmp_path, cells, rows, judged, Options(), "python -m dualsys.bench bus")
    assert [path.name for path in written] == ["bus.md", "bus.json", "bus.png"]
    text = written[0].read_text()
    assert text == page(cells, rows, judged, Options(), _facts(text), "python -m dualsys.bench bus")
    assert "| as fast as light: at most 1 | 1.50 (1.40 to 1.60) | **missed** |" in text
    assert "## A latent of 1 MB" in text
    assert "| raw pyzmq, ipc+curve | 200 | 300 |" in text
    assert "| `int8` | 1,056 | 26 % |" in text
    data = msgspec.json.decode(written[1].read_bytes())
    assert len(data["cells"]) == len(LINES) * len(NAMES)
    assert data["cells"][0]["message_p50_us"] == 200.0
    assert written[2].read_bytes().startswith(b"\x89PNG")


def _facts(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line.startswith("* ") and not line.startswith("* **")]
    return dict(line.removeprefix("* ").split(": ", 1) for line in lines)
