"""The benchmark of many robots: real processes and sockets, and what is made of what was seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from dualsys.bench import fleet
from dualsys.bench.fleet import BAR, Cell, Found, Options, Pass, checked, largest, sum_up
from dualsys.bench.fleet_page import page, write_page
from dualsys.bundles import Manifest, hash_files, weights_digest, write_manifest
from dualsys.clock import WallClock
from dualsys.errors import ConfigError
from dualsys.slow.backends.onnx import OnnxSystem2
from dualsys.specs import LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

FACTS = {"processor": "a machine"}


def bright_graph(path: Path, batch: int | str) -> None:
    """A graph whose every output is the brightness of its image."""
    helper, kinds = onnx.helper, onnx.TensorProto
    constants = [
        helper.make_tensor("axes", kinds.INT64, [3], [1, 2, 3]),
        helper.make_tensor("one", kinds.INT64, [1], [1]),
        helper.make_tensor("tokens_shape", kinds.INT64, [3], [1, 2, 4]),
        helper.make_tensor("point_shape", kinds.INT64, [2], [1, 3]),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=kinds.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["presence"], keepdims=0),
        helper.make_node("Unsqueeze", ["presence", "one"], ["column"]),
        helper.make_node("Unsqueeze", ["column", "one"], ["token"]),
        helper.make_node("Expand", ["token", "tokens_shape"], ["tokens"]),
        helper.make_node("Expand", ["column", "point_shape"], ["position"]),
        helper.make_node("Expand", ["column", "point_shape"], ["goal"]),
    ]
    shapes = {"tokens": [batch, 2, 4], "position": [batch, 3], "presence": [batch], "goal": [batch, 3]}
    inputs = [
        helper.make_tensor_value_info("image", kinds.UINT8, [batch, 6, 8, 3]),
        helper.make_tensor_value_info("words", kinds.INT64, [batch, 5]),
    ]
    outputs = [helper.make_tensor_value_info(name, kinds.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(nodes, "bright", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    def make(batch: int | str = "batch") -> Path:
        folder = tmp_path / f"system2-{batch}"
        folder.mkdir()
        bright_graph(folder / "system2.onnx", batch)
        files = hash_files(folder, ["system2.onnx"])
        observation = ObservationSpec({"fixed": TensorSpec((6, 8, 3), "uint8")}, TensorSpec((9,)))
        specs = SystemSpecs(observation, LatentSpec("latent_sequence", {"tokens": TensorSpec((2, 4))}))
        manifest = Manifest(
            format=1,
            role="system2",
            name="bright",
            specs=specs,
            weights=weights_digest(files),
            files=files,
            vocabulary=("", "push", "it"),
            max_words=5,
            training={"parameters": 12},
        )
        write_manifest(folder, manifest)
        return folder

    return make


@pytest.fixture
def config(tmp_path: Path) -> Callable[[Path], Path]:
    def write(bundle: Path) -> Path:
        path = tmp_path / "system.yaml"
        path.write_text(f"slow: {{bundle: {bundle}}}\n", encoding="utf-8")
        return path

    return write


def test_a_fleet_is_served_by_a_process_over_sockets_and_measured(
    make_bundle: Callable[..., Path],
    config: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)
    monkeypatch.setattr(fleet, "demo_scenes", lambda _: [({"fixed": image}, "push it") for image in images])
    options = Options(
        config=config(make_bundle()), models="shipped", bound_ms=100, robots="3", rate_hz=50, seconds=0.5
    )
    found, cells = fleet.measure(options)
    assert [(cell.batch, cell.robots) for cell in cells] == [(1, 3), (8, 3)]
    for cell in cells:
        assert cell.unserved == 0
        assert cell.latents_per_s > 0
        assert 0 < cell.age_p50_ms <= min(cell.age_p99_ms, cell.worst_robot_p99_ms)
        assert 0 < cell.jain <= 1
    assert cells[0].mean_batch == 1
    assert 1 <= cells[1].mean_batch <= 3
    (one,) = found
    assert (one.model, one.parameters, one.batches, one.ratio) == ("shipped", 12, True, None)
    assert [taken.size for taken in one.passes] == list(fleet.SIZES)
    text, values = write_page(tmp_path / "out", found, cells, options, "the command")
    assert "not measured" in text.read_text()
    assert json.loads(values.read_bytes())["cells"][1]["robots"] == 3


def test_a_bundle_that_takes_one_robot_at_a_time_says_so(make_bundle: Callable[..., Path]) -> None:
    passes = fleet.time_passes(OnnxSystem2(make_bundle(batch=1)), WallClock())
    assert [taken.size for taken in passes] == [1]
    assert passes[0].ms > 0
    found = Found("shipped", 0, passes, 7, None, False)
    text = page([found], [], Options(), FACTS, "the command")
    assert "takes one robot at a time" in text
    assert found.ratio is None


@pytest.mark.parametrize("most", [0, 1, 2, 3, 7, 8, 63, 127, 128])
def test_the_largest_number_is_found_with_few_looks(most: int) -> None:
    asked: list[int] = []

    def keeps(count: int) -> bool:
        asked.append(count)
        return count <= most

    assert largest(keeps) == most
    assert len(asked) == len(set(asked)) <= 15


def test_ages_and_shares_are_summed_up_over_robots_and_looks() -> None:
    ages_ms = np.array([[10.0, np.nan], [20.0, 200.0], [30.0, 300.0]])
    cell = sum_up("shipped", 4, ages_ms, [3, 1], 2.0, {1: 2, 2: 1})
    assert cell.robots == 2
    assert cell.latents_per_s == 2
    assert cell.age_p50_ms == 30
    assert cell.worst_robot_p99_ms == pytest.approx(299)
    assert cell.jain == pytest.approx(16 / 20)
    assert cell.mean_batch == pytest.approx(4 / 3)
    assert cell.unserved == 0


def test_robots_that_got_nothing_are_told_of() -> None:
    cell = sum_up("shipped", 4, np.full((5, 2), np.nan), [0, 0], 2.0, {})
    assert cell.unserved == 2
    assert cell.age_p99_ms == float("inf")
    assert cell.jain == cell.mean_batch == 0


def test_the_page_has_the_bar_and_what_a_pass_costs() -> None:
    passes = [Pass(1, 5.0), Pass(8, 32.0)]
    met = Found("512", 20_000_000, passes, 4, 20, True)
    missed = Found("shipped", 1_700_000, passes, 20, 24, True)
    cell = Cell("512", 8, 20, 190.0, 80.0, 150.0, 170.0, 0.99, 6.2, 0)
    text = page([met, missed], [cell], Options(), FACTS, "the command")
    assert f"| width 512, untrained | 20,000,000 | 4 | 20 | {20 / 4:.2f} | met |" in text
    assert "| shipped | 1,700,000 | 20 | 24 | 1.20 | **missed** |" in text
    assert "| 8 | 32.00 | 4.00 | 1.25 |" in text
    assert "| 8 | 20 | 190.0 | 80 ms | 150 ms | 170 ms | 0.990 | 6.2 |" in text
    assert met.ratio is not None
    assert met.ratio >= BAR


def test_options_that_make_no_sense_are_all_told_at_once() -> None:
    options = Options(models="shipped,100", robots="4,500", bound_ms=0, largest_batch=1, seconds=0)
    with pytest.raises(ConfigError) as error:
        checked(options)
    assert [fault.split(":")[0] for fault in error.value.faults] == [
        "--models",
        "--robots",
        "--bound-ms",
        "--largest-batch",
        "--seconds",
    ]
    assert checked(Options(robots="2, 5")) == (["shipped", "512"], [2, 5])
    assert checked(Options(smoke=True)) == (["shipped"], [1, 4])
