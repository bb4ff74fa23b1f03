"""A recording on the disk: any change shows, a cut leaves what was flushed, other tools can read it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader

from dualsys.errors import RecordingError
from dualsys.messages import Tensor
from dualsys.recorder.chain import LINK, SEAL, verify
from dualsys.recorder.planner import header
from dualsys.recorder.reading import RecordingReader
from dualsys.recorder.records import ControlTick, Event, PlannerRepeat, Record, vector
from dualsys.recorder.topics import TOPICS
from dualsys.recorder.writer import RecordingWriter, schema_of, to_json

CHUNKS, TICKS = 5, 20


def tick(number: int, **changes: object) -> ControlTick:
    known = {
        "t_ns": 1000 + number, "tick": number, "missed": 0, "fresh": True, "reading_t_ns": number,
        "position": (0.1 * number,) * 8, "velocity": (0.0,) * 8, "status": "ok", "mode": "RUNNING",
    }  # fmt: skip
    return ControlTick(**(known | changes))


def write(path: Path, *, close: bool = True) -> RecordingWriter:
    path.unlink(missing_ok=True)
    writer = RecordingWriter(path)
    writer.attach("config.yaml", "application/yaml", b"name: test\n", 0)
    for chunk in range(CHUNKS):
        for number in range(chunk * TICKS, (chunk + 1) * TICKS):
            writer.write(tick(number), number)
        writer.flush()
    if close:
        writer.close()
    return writer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, str]:
    """A file to write variants to, what is in the intact one, and its last hash."""
    path = tmp_path_factory.mktemp("file") / "recording.mcap"
    head = write(path).head
    return path, path.read_bytes(), head


def offsets(data: bytes) -> st.SearchStrategy[int]:
    return st.integers(0, len(data) - 1)


def test_an_intact_recording_is_told_so_with_its_last_hash(whole: tuple[Path, bytes, str]) -> None:
    path, data, head = whole
    path.write_bytes(data)
    verdict = verify(path)
    assert verdict.intact
    assert (verdict.links, verdict.head, verdict.breaks) == (CHUNKS + 1, head, [])
    assert verdict.lines() == ["intact: all 6 links fit, and the file is sealed", f"last hash {head}"]


@settings(max_examples=80)
@given(st.data())
def test_one_changed_byte_anywhere_is_found(whole: tuple[Path, bytes, str], data: st.DataObject) -> None:
    path, original, head = whole
    changed = bytearray(original)
    changed[data.draw(offsets(original))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    verdict = verify(path)
    assert not verdict.intact
    assert head not in verdict.lines()[0]


def test_the_link_after_a_changed_byte_is_named_with_its_times(whole: tuple[Path, bytes, str]) -> None:
    path, original, _ = whole
    links = [at for at in range(len(original)) if original.startswith(LINK.encode(), at)]
    for number in range(CHUNKS - 1):
        changed = bytearray(original)
        # The link's own record lies between: a byte of the compressed data well ahead of the next link.
        changed[links[number + 1] - 400] ^= 1
        path.write_bytes(changed)
        verdict = verify(path)
        assert [one.index for one in verdict.breaks] == [number + 1]
        assert (verdict.breaks[0].start_ns, verdict.breaks[0].end_ns) == (
            1000 + (number + 1) * TICKS,
            1000 + (number + 2) * TICKS - 1,
        )
        assert verdict.lines()[0].startswith(f"broken at link {number + 1} (bytes ")


def test_a_segment_that_was_taken_out_is_found(whole: tuple[Path, bytes, str]) -> None:
    path, original, _ = whole
    links = [at for at in range(len(original)) if original.startswith(LINK.encode(), at)]
    path.write_bytes(original[: links[1]] + original[links[2] :])
    verdict = verify(path)
    assert not verdict.intact
    assert verdict.breaks[0].index == 1


@settings(max_examples=40)
@given(st.data())
def test_a_cut_file_is_read_up_to_the_cut_and_is_told_to_be_cut(
    whole: tuple[Path, bytes, str], data: st.DataObject
) -> None:
    path, original, _ = whole
    length = data.draw(st.integers(0, len(original) - 1))
    path.write_bytes(original[:length])
    assert not verify(path).intact
    ends = [at for at in range(length) if original.startswith(LINK.encode(), at)]
    try:
        reader = RecordingReader(path)
        ticks = [one.record for one in reader if isinstance(one.record, ControlTick)]
    except RecordingError:
        assert not ends
        return
    assert [one.tick for one in ticks] == list(range(len(ticks)))
    assert len(ticks) >= TICKS * len(ends)
    assert reader.cut or original.find(SEAL.encode()) < length


def test_what_was_flushed_is_there_without_a_close(tmp_path: Path) -> None:
    path = tmp_path / "recording.mcap"
    writer = write(path, close=False)
    writer.write(tick(999))
    reader = RecordingReader(path)
    assert len([one for one in reader if isinstance(one.record, ControlTick)]) == CHUNKS * TICKS
    assert reader.attachments == {"config.yaml": b"name: test\n"}
    verdict = verify(path)
    assert (verdict.links, verdict.sealed, verdict.breaks, verdict.uncovered) == (CHUNKS, False, [], 0)
    assert "not sealed" in verdict.lines()[0]
    writer.close()
    assert verify(path).intact


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "recording.mcap"
    path.write_bytes(b"precious")
    with pytest.raises(RecordingError, match=r"cannot be made: File exists; choose another file"):
        RecordingWriter(path)
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("content", [b"", b"not an MCAP file at all", b"\x89MCAP0\r\n"])
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recording.mcap"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"recording\.mcap: "):
        RecordingReader(path)
    assert not verify(path).intact


@pytest.mark.fault_row(43)
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fdatasync", full)
    writer = RecordingWriter(tmp_path / "recording.mcap")
    writer.write(tick(0))
    with pytest.raises(RecordingError, match=r"recording\.mcap: cannot be written: No space left"):
        writer.flush()
    writer.close()
    assert len(list(RecordingReader(tmp_path / "recording.mcap"))) == 1


@given(st.lists(st.floats(), max_size=12))
def test_every_float_survives_the_file_with_its_bits(values: list[float]) -> None:
    (read,) = [vector(json_read(tick(0, position=tuple(values))).position)]
    canonical = np.array([math.nan if value != value else value for value in values], dtype=np.float64)
    assert read.tobytes() == canonical.tobytes()


def json_read(record: ControlTick) -> ControlTick:
    """A record as it is read back."""
    return msgspec.json.decode(to_json(record), type=ControlTick)


def test_a_tensor_survives_the_file_with_its_bits(tmp_path: Path) -> None:
    array = np.random.default_rng(1).standard_normal((16, 4)).astype(np.float32)
    path = tmp_path / "recording.mcap"
    details = {"null": None, "number": math.nan, "nested": [1, {"a": "null"}]}
    writer = RecordingWriter(path)
    writer.write(PlannerRepeat(t_ns=1, residual=Tensor.of(array), failed="", plan=header(None)))
    writer.write(Event(t_ns=5, kind="note", details=details))
    writer.close()
    first, second = (one.record for one in RecordingReader(path))
    assert isinstance(first, PlannerRepeat)
    assert first.residual.array().tobytes() == array.tobytes()
    assert isinstance(second, Event)
    assert second.details == {"null": None, "number": "NaN", "nested": [1, {"a": "null"}]}


def test_the_library_of_the_format_reads_it_with_an_index_and_checksums(
    whole: tuple[Path, bytes, str],
) -> None:
    path, original, _ = whole
    path.write_bytes(original)
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert {channel.topic for channel in summary.channels.values()} == set(TOPICS.values())
        read = [json.loads(message.data) for _, _, message in reader.iter_messages(["/control/tick"])]
        assert [one["tick"] for one in read] == list(range(CHUNKS * TICKS))
        assert [one.name for one in reader.iter_metadata()] == [LINK] * CHUNKS + [SEAL]
        (attachment,) = reader.iter_attachments()
        assert attachment.name == "config.yaml"
    with path.open("rb") as file:
        assert sum(1 for _ in StreamReader(file, validate_crcs=True).records) > CHUNKS * TICKS


@pytest.mark.parametrize("kind", TOPICS, ids=lambda kind: kind.__name__)
def test_every_schema_is_plain(kind: type[Record]) -> None:
    # Plotting tools follow no references and choose between no alternatives.
    schema = schema_of(kind)
    assert schema["type"] == "object"
    assert set(schema["properties"]) == {"type", *kind.__struct_fields__}
    text = json.dumps(schema)
    assert not {word for word in ("$ref", "anyOf", "prefixItems", "null") if word in text}
