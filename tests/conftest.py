"""What all tests share: one thread for numerics, repeatable examples, a clock that moves when told to."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

# Before numpy, onnxruntime or torch is imported: they read these once. Small machines run the tests too, and
# a plot must never look for a screen.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
from hypothesis import settings

from dualsys.clock import VirtualClock

# The default examples are the same on every run; `pytest --hypothesis-profile=search` draws new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=60, database=None)
settings.register_profile("search", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile("repeatable")


@pytest.fixture
def clock() -> VirtualClock:
    """A virtual clock that starts at one second, so that a zero stamp is never mistaken for now."""
    return VirtualClock(1_000_000_000)


@pytest.fixture
def rng() -> np.random.Generator:
    """A random generator with the same seed for every test."""
    return np.random.default_rng(20260131)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root folder of the repository."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def split_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Write a tiny System 2 that can be worked out by hand, whole and in halves; graphs can be left out.

    Its camera `fixed` has 6 x 8 pixels. Features are its bytes over 255, as `[12, 12]`; every element of the
    latent `[8, 128]` is their mean plus the index of the first word, and `presence` is that mean.
    """
    import onnx

    from dualsys.bundles import Manifest, hash_files, weights_digest, write_manifest
    from dualsys.specs import LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

    helper, kinds = onnx.helper, onnx.TensorProto
    shapes = {
        "image": (kinds.UINT8, [1, 6, 8, 3]),
        "features": (kinds.FLOAT, [1, 12, 12]),
        "words": (kinds.INT64, [1, 5]),
        "tokens": (kinds.FLOAT, [1, 8, 128]),
        "position": (kinds.FLOAT, [1, 3]),
        "presence": (kinds.FLOAT, [1]),
        "goal": (kinds.FLOAT, [1, 3]),
    }
    constants = {
        "scale": helper.make_tensor("scale", kinds.FLOAT, [], [255.0]),
        "zero": helper.make_tensor("zero", kinds.INT64, [1], [0]),
        "one": helper.make_tensor("one", kinds.INT64, [1], [1]),
        "feature_shape": helper.make_tensor("feature_shape", kinds.INT64, [3], [1, 12, 12]),
        "token_shape": helper.make_tensor("token_shape", kinds.INT64, [3], [1, 8, 128]),
        "point_shape": helper.make_tensor("point_shape", kinds.INT64, [2], [1, 3]),
    }
    vision = [
        helper.make_node("Cast", ["image"], ["pixels"], to=kinds.FLOAT),
        helper.make_node("Div", ["pixels", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "feature_shape"], ["features"]),
    ]
    language = [
        helper.make_node("ReduceMean", ["features"], ["brightness"], keepdims=0),
        helper.make_node("Reshape", ["brightness", "one"], ["presence"]),
        helper.make_node("Slice", ["words", "zero", "one", "one"], ["first"]),
        helper.make_node("Cast", ["first"], ["word"], to=kinds.FLOAT),
        helper.make_node("Add", ["word", "presence"], ["sum"]),
        helper.make_node("Expand", ["sum", "token_shape"], ["tokens"]),
        helper.make_node("Expand", ["presence", "point_shape"], ["position"]),
        helper.make_node("Expand", ["presence", "point_shape"], ["goal"]),
    ]
    outputs = ("tokens", "position", "presence", "goal")
    graphs = {
        "system2.onnx": ([*vision, *language], ("image", "words"), outputs),
        "vision.onnx": (vision, ("image",), ("features",)),
        "language.onnx": (language, ("features", "words"), outputs),
    }

    def write(path: Path) -> None:
        nodes, inputs, made = graphs[path.name]
        used = {name for node in nodes for name in node.input}
        ends = [
            [helper.make_tensor_value_info(name, *shapes[name]) for name in side] for side in (inputs, made)
        ]
        weights = [tensor for name, tensor in constants.items() if name in used]
        graph = helper.make_graph(nodes, path.stem, *ends, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())

    def make(folder: str = "system2", without: tuple[str, ...] = (), name: str = "split") -> Path:
        place = tmp_path / folder
        place.mkdir()
        kept = [graph for graph in graphs if graph not in without]
        for graph in kept:
            write(place / graph)
        files = hash_files(place, kept)
        image = TensorSpec((6, 8, 3), "uint8")
        specs = SystemSpecs(
            ObservationSpec({"fixed": image}, TensorSpec((9,))),
            LatentSpec("latent_sequence", {"tokens": TensorSpec((8, 128))}),
        )
        manifest = Manifest(
            format=2,
            role="system2",
            name=name,
            specs=specs,
            weights=weights_digest(files),
            files=files,
            vocabulary=("", "push", "the", "red", "block"),
            max_words=5,
        )
        write_manifest(place, manifest)
        return place

    return make


@pytest.fixture
def driver_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installed package with a robot driver, for this process and those it starts; yields its name."""
    folder = tmp_path / "packages"
    described = folder / "next_room-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: next-room\nVersion: 1.0\n", "utf-8")
    (described / "entry_points.txt").write_text("[dualsys.robots]\nnext_room = next_room:DRIVER\n", "utf-8")
    (folder / "next_room.py").write_text(
        "from dualsys.robots.registry import RobotDriver\n"
        "from dualsys.robots.simulated import SimulatedRobot\n"
        "DRIVER = RobotDriver('the arm in the next room', open=SimulatedRobot)\n",
        "utf-8",
    )
    inherited = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([inherited] if inherited else [])]))
    monkeypatch.syspath_prepend(folder)
    yield "next_room"
    sys.modules.pop("next_room", None)


@pytest.fixture(scope="session")
def documents(repository: Path) -> ModuleType:
    """The helper that reads pages."""
    spec = importlib.util.spec_from_file_location("documents", repository / "tests" / "documents.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
