from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from dualsys.bench.delay_grid import RECORDED, RECORDED_JITTER
from dualsys.bench.plan_delays import durations_ns, main, thinned_ms
from dualsys.clock import NS_PER_MS
from dualsys.messages import Tensor
from dualsys.recorder.ledger import Ledger
from dualsys.recorder.records import PlanHeader, PlannerBegin, PlannerChunk, PlannerJob, PlannerLatent, Record
from dualsys.recorder.topics import Envelope
from dualsys.recorder.writer import RecordingWriter
from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec
from dualsys.twin.latency import Empirical, SampleFile, parse_latency

HEADER = PlanHeader(
    session=1, episode=0, epoch=0, seq=0, latent_seq=0, t_latent_ns=0, t_observation_ns=0, splice_ns=0,
    delay_ns=0, delay_steps=0, knots=17, digest="",
)  # fmt: skip


def latent(seq: int, act: bool = True, refusal: str = "") -> PlannerLatent:
    return PlannerLatent(
        t_ns=0, session=1, episode=0, seq=seq, observation_seq=seq, t_capture_ns=0, instruction="pick it",
        compute_ns=0, t_received_ns=0,
        t_sent_ns=0, weights="", kind="", tensors={}, codec="float32", text="", act=act, refusal=refusal,
    )  # fmt: skip


def job(number: int, t_ms: float, latent_seq: int = 1) -> PlannerJob:
    return PlannerJob(
        t_ns=round(t_ms * NS_PER_MS), number=number, episode=0, epoch=0, waiting_for="",
        latent_seq=latent_seq, t_observation_ns=0, overlap_steps=0, delay_steps=0,
    )  # fmt: skip


def chunk(number: int, t_ms: float, failed: str = "") -> PlannerChunk:
    values = Tensor.of(np.ones((16, 4), np.float32))
    return PlannerChunk(
        t_ns=round(t_ms * NS_PER_MS), number=number, episode=0, chunk=values, failed=failed, plan=HEADER
    )


def write(path: Path, records: list[Record]) -> Path:
    writer, ledger = RecordingWriter(path), Ledger()
    for number, record in enumerate(records):
        for one, place in ledger.enter(Envelope(source="planner", number=number, record=record)):
            writer.write(one, place)
    writer.write(ledger.end(0))
    writer.close()
    return path


def test_a_plan_lasts_from_the_start_of_its_job_to_its_chunk() -> None:
    found = durations_ns([latent(1), job(0, 10.0), chunk(0, 25.0), job(1, 30.0), chunk(1, 92.5)])
    assert found == [15 * NS_PER_MS, 62_500_000]


def test_what_was_not_computed_by_system_1_does_not_count() -> None:
    records = [
        latent(1), latent(2, act=False), latent(2, refusal="of another episode"),
        job(0, 0.0), chunk(0, 5.0, failed="the runtime failed"),
        job(-1, 10.0),
        job(1, 20.0, latent_seq=2), chunk(1, 20.5),
        job(2, 30.0), job(3, 40.0), chunk(3, 47.0),
        chunk(4, 60.0),
    ]  # fmt: skip
    assert durations_ns(records) == [7 * NS_PER_MS]


def test_of_many_samples_evenly_spaced_quantiles_are_kept() -> None:
    samples = [number * NS_PER_MS for number in range(1000)]
    assert thinned_ms(list(reversed(samples)), 4) == [125.0, 375.0, 625.0, 875.0]
    assert thinned_ms([3_004_999, 1], 4) == [0.0, 3.0]


def begun(weak_weights: str) -> PlannerBegin:
    tensor = TensorSpec((1,))
    return PlannerBegin(
        t_ns=0, schema=1, action=ActionSpec("tool_velocity", ("x",), 1, 1, (1.0,)), wrist=tensor,
        specs=SystemSpecs(ObservationSpec({}, tensor), LatentSpec("latent_vector", {})), weights="late",
        capabilities=[], kinematics="Chain", strategy="bid", options={}, session=1, seed=1, settings={},
        weak_weights=weak_weights,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("weak_weights", "told"),
    [("", "weights late, onnxruntime"), ("early", "weights late, a weak policy with weights early, onnxrun")],
)
def test_a_weak_policy_that_was_drawn_from_is_told_with_the_delays(
    tmp_path: Path, weak_weights: str, told: str
) -> None:
    records: list[Record] = [begun(weak_weights), latent(1), job(0, 10.0), chunk(0, 25.0)]
    path, output = write(tmp_path / "recording.mcap", records), tmp_path / "delays.json"
    assert main([str(path), "--output", str(output)]) == 0
    assert told in msgspec.json.decode(output.read_bytes(), type=SampleFile).about


def test_a_recording_becomes_a_file_of_delays_that_says_where_it_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = write(tmp_path / "recording.mcap", [latent(1), job(0, 10.0), chunk(0, 25.0)])
    output = tmp_path / "delays.json"
    assert main([str(recording), "--output", str(output), "--about", "On a desk"]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    assert parse_latency(str(output)) == Empirical((15 * NS_PER_MS,))
    about = msgspec.json.decode(output.read_bytes(), type=SampleFile).about
    assert about.startswith("On a desk. 1 plans of a run")
    assert "recording with hash" in about


def test_a_recording_without_plans_and_a_wrong_count_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = write(tmp_path / "recording.mcap", [latent(1)])
    command = [str(recording), "--output", str(tmp_path / "delays.json")]
    assert main(command) == 2
    assert "no plan was computed in it; record a run" in capsys.readouterr().err
    assert main([*command, "--most", "0"]) == 2
    assert "most: expected at least 1, got 0" in capsys.readouterr().err
    assert not (tmp_path / "delays.json").exists()


def test_the_recorded_delays_that_are_shipped_say_where_they_come_from_and_have_a_tail() -> None:
    file = msgspec.json.decode(RECORDED.read_bytes(), type=SampleFile)
    assert "dualsys run configs/tabletop.yaml" in file.about
    assert "not scaled" in file.about
    assert len(file.samples) >= 200
    assert isinstance(RECORDED_JITTER, Empirical)
    half, most, longest = np.percentile(RECORDED_JITTER.samples_ns, [50, 95, 100]) / NS_PER_MS
    assert 80 < half < 95
    assert 250 < most < 280
    assert longest < 1000
