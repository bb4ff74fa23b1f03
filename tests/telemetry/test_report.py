"""Rules of what is drawn at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.errors import MissingExtraError
from dualsys.messages import ControlState, LatentPacket, Plan, Tensor
from dualsys.telemetry import extras
from dualsys.telemetry.film import compose
from dualsys.telemetry.recorder import Recorder
from dualsys.telemetry.recording import Recording
from dualsys.telemetry.report import build_report
from dualsys.telemetry.run_folder import RunFolder, read_json_lines

FIXED = np.full((96, 128, 3), (200, 30, 30), np.uint8)
WRIST = np.full((64, 64, 3), (30, 30, 200), np.uint8)


def control_state(seq: int, mode: str = "RUNNING") -> ControlState:
    """What control says at tick `seq`, 20 ms after the one before."""
    joints = tuple(float(value) for value in np.sin(seq / 30 + np.arange(8)))
    return ControlState(
        session=1,
        seq=seq,
        t_ns=NS_PER_S + seq * 20 * NS_PER_MS,
        position=joints,
        velocity=joints,
        command=joints,
        mode=mode,
        reason="" if mode == "RUNNING" else "latent too old",
        epoch=0,
        plan_seq=seq,
        latent_age_ns=300 * NS_PER_MS,
        plan_age_ns=-1,
        counters={},
    )


def plan(seq: int) -> Plan:
    """A plan that joins at tick `seq`."""
    return Plan(
        session=1,
        episode=0,
        epoch=0,
        seq=seq,
        t_ns=Tensor.of(np.arange(3)),
        setpoints=Tensor.of(np.zeros((3, 8))),
        latent_seq=0,
        t_latent_ns=0,
        t_observation_ns=0,
        splice_ns=NS_PER_S + seq * 20 * NS_PER_MS,
        delay_ns=12 * NS_PER_MS,
        delay_steps=1,
    )


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """A recorder into an empty folder."""
    recorder = Recorder(RunFolder.create(tmp_path, "demo", "20260131-120000"))
    yield recorder
    recorder.close()


def record_a_run(recorder: Recorder) -> Path:
    """One second of everything; returns the folder."""
    recorder.event(NS_PER_S, "episode", episode=0, instruction="pick up the $red cube", task="pick", seed=0)
    for seq in range(50):
        state = control_state(seq, "RUNNING" if seq < 40 else "HOLDING")
        recorder.tick(state)
        recorder.plan(state.t_ns, plan(seq), None if seq == 0 else 0.01 * seq)
        if seq % 5 == 0:
            recorder.frame(state.t_ns, "fixed", FIXED)
            recorder.frame(state.t_ns + NS_PER_MS, "wrist", WRIST)
    recorder.event(2 * NS_PER_S, "verdict", episode=0, result="success")
    return recorder.folder.path


def test_the_whole_report_is_built_from_logs_alone(recorder: Recorder) -> None:
    av = pytest.importorskip("av")
    path = record_a_run(recorder)
    recorder.close()
    made, notes = build_report(path, 12.5)
    assert notes == []
    assert [file.name for file in made] == ["timeline.png", "filmstrip.png", "episode.mp4"]
    assert all(file.stat().st_size > 1000 for file in made)
    with av.open(str(path / "episode.mp4")) as film:
        stream = film.streams.video[0]
        pictures = list(film.decode(stream))
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == 12.5
        assert len(pictures) == 12


def test_the_film_shows_both_cameras_and_keeps_its_size(recorder: Recorder) -> None:
    pytest.importorskip("matplotlib")
    pictures = list(compose(Recording.load(record_a_run(recorder)), 12.5))
    assert {picture.shape for picture in pictures} == {pictures[0].shape}
    assert all(side % 2 == 0 for side in pictures[0].shape[:2])
    late = pictures[-1].astype(int)
    assert np.abs(late[100, 100] - FIXED[0, 0]).max() < 12
    assert np.abs(late[100, -100] - WRIST[0, 0]).max() < 12
    assert pictures[0][100, -100].max() == 0, "the wrist camera has seen nothing yet"


def test_a_run_without_records_makes_notes_not_errors(recorder: Recorder) -> None:
    pytest.importorskip("av")
    made, notes = build_report(recorder.folder.path, 12.5)
    assert made == []
    assert [note.split(":")[0] for note in notes] == ["timeline.png", "filmstrip.png", "episode.mp4"]


def test_a_missing_package_costs_its_files_only_and_names_the_install_line(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record_a_run(recorder)

    def refuse(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])

    monkeypatch.setattr(extras, "import_module", refuse)
    made, notes = build_report(path, 12.5)
    assert made == []
    assert len(notes) == 3
    assert all("pip install 'dualsys[sim]'" in note for note in notes)
    with pytest.raises(MissingExtraError, match="'matplotlib'"):
        extras.figure(1, 1, "a drawing")


def test_a_change_of_mode_is_an_event_with_its_reason(recorder: Recorder) -> None:
    for mode in ("RUNNING", "RUNNING", "HOLDING", "RUNNING"):
        recorder.tick(control_state(0, mode))
    events = read_json_lines(recorder.folder.path / "events.jsonl")
    assert [(event["mode"], event["reason"]) for event in events] == [
        ("RUNNING", ""),
        ("HOLDING", "latent too old"),
        ("RUNNING", ""),
    ]


def test_latents_are_recorded_with_their_age_on_arrival(recorder: Recorder) -> None:
    packet = LatentPacket(
        session=1,
        episode=0,
        seq=7,
        observation_seq=9,
        t_capture_ns=NS_PER_S,
        instruction="touch it",
        compute_ns=5,
        weights="abc",
        kind="latent_sequence",
        tensors={},
        text="no such block",
    )
    recorder.latent(NS_PER_S + 250 * NS_PER_MS, packet)
    (record,) = read_json_lines(recorder.folder.path / "latents.jsonl")
    assert (record["age_ns"], record["text"]) == (250 * NS_PER_MS, "no such block")


def test_an_episode_that_never_ended_lasts_to_the_last_record(recorder: Recorder) -> None:
    recorder.event(NS_PER_S, "episode", episode=0, instruction="a")
    recorder.event(2 * NS_PER_S, "verdict", episode=0, result="success")
    recorder.event(3 * NS_PER_S, "episode", episode=1, instruction="b")
    recorder.tick(control_state(150))
    spans = [(start, end) for start, end, _ in Recording.load(recorder.folder.path).episode_spans()]
    assert spans == [(NS_PER_S, 2 * NS_PER_S), (3 * NS_PER_S, 4 * NS_PER_S)]


def test_images_survive_the_log_nearly_unchanged(recorder: Recorder) -> None:
    recorder.frame(1, "fixed", FIXED)
    recorder.frame(2, "wrist", WRIST)
    recording = Recording.load(recorder.folder.path)
    for entry, image in zip(recording.frames, (FIXED, WRIST), strict=True):
        assert np.abs(recording.image(entry).astype(int) - image).max() <= 4
