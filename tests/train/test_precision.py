"""Lower precision: what a variant is, and when it is kept."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from dualsys.models import System1Net
from dualsys.train.export import EULER_STEPS
from dualsys.train.graphs import system1_graphs
from dualsys.train.precision import ERROR_ALLOWED, SPEED_WANTED, Trial, Tried, Variant, attempt
from dualsys.train.weights import FILE, WeightFile

NAME = "velocity.onnx"


def trial(*errors: float, speed: float = 2.0) -> Trial:
    return Trial(
        "int8", {f"{index}.onnx": Tried(error, 1.0, 2.0) for index, error in enumerate(errors)}, speed
    )


def test_a_variant_wins_that_is_exact_enough_in_every_graph_and_faster() -> None:
    assert trial(1e-3, ERROR_ALLOWED, speed=SPEED_WANTED).wins
    assert not trial(1e-3, 1.1 * ERROR_ALLOWED).wins
    assert not trial(1e-3, speed=0.99 * SPEED_WANTED).wins
    assert not trial(float("nan")).wins


def test_what_is_told_has_every_graph_and_the_verdict() -> None:
    *graphs, verdict = trial(1e-3, 0.5).lines()
    assert graphs[1] == "int8 1.onnx: error 5.0e-01, 1.00 ms, float32 2.00 ms"
    assert verdict.startswith("int8: 2.00 times the speed of float32")
    assert verdict.endswith("not kept, the bundle is float32")
    assert trial(1e-3).lines()[-1].endswith(": kept")


@pytest.mark.parametrize(("variant", "kind", "error"), [("int8", 3, 0.3), ("fp16", 10, 0.03)])
def test_a_variant_computes_nearly_the_same_with_smaller_weights(
    small_system1: System1Net,
    velocity_model: onnx.ModelProto,
    tmp_path: Path,
    variant: Variant,
    kind: int,
    error: float,
) -> None:
    plain, other = tmp_path / "plain", tmp_path / "other"
    graphs = {NAME: system1_graphs(small_system1, EULER_STEPS)[NAME]}
    models = {NAME: velocity_model}
    before = models[NAME].SerializeToString()
    slim = onnx.ModelProto.FromString(before)
    shared = WeightFile(plain / FILE)
    shared.take(slim)
    (plain / NAME).write_bytes(slim.SerializeToString())
    other.mkdir()
    found = attempt(models, graphs, small_system1, variant, plain, other)
    assert models[NAME].SerializeToString() == before
    assert 1e-5 < found.graphs[NAME].error < error
    assert found.graphs[NAME].ms > 0
    made = onnx.load(other / NAME, load_external_data=False)
    assert any(tensor.data_type == kind for tensor in made.graph.initializer)
    assert [value.name for value in made.graph.input] == [value.name for value in slim.graph.input]
