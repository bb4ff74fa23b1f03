"""From trained networks to bundles: ONNX graphs checked against torch, and a manifest that says what they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import torch
from dualsys_sim import arena

from dualsys.errors import BundleError
from dualsys.models.system1 import System1Net
from dualsys.models.system2 import System2Net
from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec
from dualsys.train.graphs import CONTEXT, Graph, export_graph, system1_graphs, system2_graphs
from dualsys.train.variants import MAX_WORDS

FORMAT = 1
EULER_STEPS = 5
BETA = 5.0
TOLERANCE = 1e-4
"""Largest error of a graph against torch, relative to the largest element."""


def system_specs(system2: System2Net, proprioception: int) -> SystemSpecs:
    """What the two trained systems agree on."""
    config = system2.config
    image = TensorSpec((config.height_px, config.width_px, 3), "uint8", unit="RGB")
    return SystemSpecs(
        ObservationSpec({"fixed": image}, TensorSpec((proprioception,), "float32")),
        LatentSpec("latent_sequence", {"tokens": TensorSpec((config.queries, config.width), "float32")}),
    )


def action_spec(system1: System1Net) -> ActionSpec:
    """How the chunks of System 1 are to be read."""
    step = arena.ACTION_STEP_M
    return ActionSpec(
        space="tool_velocity",
        names=("x", "y", "z", "gripper"),
        horizon=system1.config.horizon,
        step_ns=round(arena.POLICY_STEP_S * 1e9),
        scale=(step, step, step, 1.0),
    )


def export_system1(net: System1Net, specs: SystemSpecs, folder: Path, training: Mapping[str, Any]) -> None:
    """Write a System 1 bundle. Raises BundleError where a graph does not reproduce torch."""
    wrist = TensorSpec((net.config.wrist_px, net.config.wrist_px, 3), "uint8", unit="RGB")
    fields = {
        "role": "system1",
        "name": "tabletop",
        "specs": specs,
        "action": action_spec(net),
        "wrist": wrist,
        "context": CONTEXT,
        "sampler": {"steps": EULER_STEPS},
        "guidance": {"beta": BETA},
    }
    _write(folder, fields, system1_graphs(_frozen(net), EULER_STEPS), training)


def export_system2(
    net: System2Net, specs: SystemSpecs, vocabulary: Sequence[str], folder: Path, training: Mapping[str, Any]
) -> None:
    """Write a System 2 bundle. Raises BundleError where a graph does not reproduce torch."""
    fields = {
        "role": "system2",
        "name": "tabletop",
        "specs": specs,
        "vocabulary": list(vocabulary),
        "max_words": MAX_WORDS,
    }
    _write(folder, fields, system2_graphs(_frozen(net)), training)


def graph_error(graph: Graph, path: Path) -> float:
    """Largest difference between the graph in onnxruntime and the function in torch, relative to the largest element."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {name: value.numpy() for name, value in graph.inputs.items()}
    with torch.no_grad():
        expected = graph.function(*graph.inputs.values())
    references = expected if isinstance(expected, tuple) else (expected,)
    errors = [
        float(np.abs(ours - theirs.numpy()).max() / max(1e-6, float(np.abs(theirs.numpy()).max())))
        for ours, theirs in zip(session.run(list(graph.outputs), feed), references, strict=True)
    ]
    return max(errors)


def _frozen(net: Any) -> Any:
    return net.cpu().float().to(memory_format=torch.contiguous_format).eval().requires_grad_(False)


def _write(folder: Path, fields: dict[str, Any], graphs: Mapping[str, Graph], training: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    errors, files = {}, {}
    for name, graph in graphs.items():
        path = folder / name
        export_graph(graph, path)
        errors[name] = graph_error(graph, path)
        if errors[name] > TOLERANCE:
            raise BundleError(
                f"{path}: differs from torch by {errors[name]:.2g}, expected at most {TOLERANCE:.2g}; nothing was released"
            )
        files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256("".join(files[name] for name in sorted(files)).encode()).hexdigest()[:16]
    manifest = {
        "format": FORMAT,
        **fields,
        "files": files,
        "weights": digest,
        "training": {**training, "error_against_torch": {name: f"{error:.1e}" for name, error in errors.items()}},
    }
    text = json.dumps(msgspec.to_builtins(manifest), indent=2)
    (folder / "bundle.json").write_text(text + "\n", encoding="utf-8")
