"""From trained networks to bundles: ONNX graphs checked against torch, and a manifest of what they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from dualsys.bundles import FORMAT, Guidance, Manifest, Sampler, hash_files, weights_digest, write_manifest
from dualsys.errors import BundleError
from dualsys.models.system1 import System1Net
from dualsys.models.system2 import System2Net
from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec
from dualsys.train.graphs import CONTEXT, Graph, export_graph, round_to_half, system1_graphs, system2_graphs
from dualsys.train.variants import MAX_WORDS
from dualsys_sim import arena

NAME = "tabletop"
EULER_STEPS = 5
BETA = 5.0
CHECKS = 7
"""Random inputs on which each graph is compared with torch."""
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
    frozen = _frozen(net)
    files, errors = _write_graphs(folder, lambda: system1_graphs(frozen, EULER_STEPS))
    manifest = Manifest(
        format=FORMAT,
        role="system1",
        name=NAME,
        specs=specs,
        weights=weights_digest(files),
        files=files,
        action=action_spec(net),
        context=CONTEXT,
        sampler=Sampler(EULER_STEPS),
        guidance=Guidance(BETA),
        training={**training, "error_against_torch": errors},
    )
    write_manifest(folder, manifest)


def export_system2(
    net: System2Net, specs: SystemSpecs, vocabulary: Sequence[str], folder: Path, training: Mapping[str, Any]
) -> None:
    """Write a System 2 bundle. Raises BundleError where a graph does not reproduce torch."""
    frozen = _frozen(net)
    files, errors = _write_graphs(folder, lambda: system2_graphs(frozen))
    manifest = Manifest(
        format=FORMAT,
        role="system2",
        name=NAME,
        specs=specs,
        weights=weights_digest(files),
        files=files,
        vocabulary=tuple(vocabulary),
        max_words=MAX_WORDS,
        training={**training, "error_against_torch": errors},
    )
    write_manifest(folder, manifest)


def graph_error(graph: Graph, path: Path) -> float:
    """Largest difference between onnxruntime and torch, relative to the largest element."""
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
    round_to_half(net)
    return net.cpu().float().to(memory_format=torch.contiguous_format).eval().requires_grad_(False)


def _write_graphs(
    folder: Path, draw_graphs: Callable[[], Mapping[str, Graph]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Export and verify all graphs; returns the hashes of the files and the error of each against torch.

    The error is the median over `CHECKS` random inputs: far from the data, guidance is now and then so badly
    conditioned that float32 and float64 differ by as much within torch itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in draw_graphs().items():
        export_graph(graph, folder / name)
    errors: dict[str, list[float]] = {}
    for seed in range(CHECKS):
        torch.manual_seed(seed)
        for name, graph in draw_graphs().items():
            errors.setdefault(name, []).append(graph_error(graph, folder / name))
    medians = {name: float(np.median(values)) for name, values in errors.items()}
    for name, error in medians.items():
        if error > TOLERANCE:
            raise BundleError(
                f"{folder / name}: differs from torch by {error:.2g}, expected at most {TOLERANCE:.2g}; "
                "not released"
            )
    return hash_files(folder, medians), {name: f"{error:.1e}" for name, error in medians.items()}
