"""From trained networks to bundles: ONNX graphs checked against torch, and a manifest of what they are."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import onnx
import torch

from dualsys.bundles import (
    FORMAT,
    LANGUAGE,
    MANIFEST,
    VISION,
    Guidance,
    Manifest,
    Sampler,
    hash_files,
    weights_digest,
    write_manifest,
)
from dualsys.errors import BundleError
from dualsys.models.system1 import System1Config, System1Net
from dualsys.models.system2 import System2Config, System2Net
from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec
from dualsys.train import agreement
from dualsys.train.checkpoint import load_network, new_system2
from dualsys.train.graphs import BETA, CONTEXT, EULER_STEPS, Graph, system1_graphs, system2_graphs
from dualsys.train.precision import ERROR_ALLOWED, Trial, Variant, attempt
from dualsys.train.residual import load_residual
from dualsys.train.scenes import vocabulary_list
from dualsys.train.tracing import trace
from dualsys.train.variants import MAX_WORDS, class_counts
from dualsys.train.weights import FILE, WeightFile, round_to_half
from dualsys_sim import arena

NAME = "tabletop"


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


def export_checkpoint(
    path: Path, folder: Path, variant: Variant | None = None, residual: Path | None = None
) -> tuple[Manifest, Trial | None]:
    """Make a bundle of a checkpoint of either system.

    Args:
        path: What `python -m dualsys.train` left.
        folder: Where to: new, empty or of an older bundle.
        variant: A lower precision to try; kept only if it wins, see `precision`.
        residual: Checkpoint of a residual head that was trained on this System 1; None for none.

    Returns:
        What was written as `bundle.json`, and how the variant did.

    Raises:
        BundleError: The checkpoint does not fit, the folder holds something else, or a graph does not
            reproduce torch.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise BundleError(f"{folder}: is not empty and holds no bundle; give another folder")
    net = load_network(path)
    provenance: dict[str, Any] = {
        "command": "dualsys export",
        "checkpoint": hash_files(path.parent, [path.name]),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
    }
    if isinstance(net, System1Net):
        if residual is not None:
            net.residual = load_residual(residual, net)
            provenance["residual"] = hash_files(residual.parent, [residual.name])
        return _export_system1(net, _usual_specs(net), folder, provenance, variant=variant)
    if residual is not None:
        raise BundleError(f"{path}: holds a System 2, which has no residual head; give a System 1")
    specs = system_specs(net, System1Config().proprioception)
    return _export_system2(net, specs, vocabulary_list(), folder, provenance, variant=variant)


def export_untrained(net: System1Net, folder: Path) -> Manifest:
    """A System 1 bundle for benchmarks: no provenance, the specs of a System 2 of the shipped size."""
    return export_system1(net, _usual_specs(net), folder, {})


def export_untrained_system2(width: int, folder: Path) -> Manifest:
    """A System 2 bundle of any width for benchmarks, with random weights.

    Args:
        width: Channels of every token, a multiple of 32; the shipped one has 128.
        folder: Where to.

    Raises:
        BundleError: A graph does not reproduce torch.
    """
    words = vocabulary_list()
    config = System2Config(vocabulary=len(words), max_words=MAX_WORDS, width=width, **class_counts())
    net = System2Net(config)
    figures = {"parameters": sum(parameter.numel() for parameter in net.parameters())}
    specs = system_specs(net, System1Config().proprioception)
    return export_system2(net, specs, words, folder, figures)


def export_system1(
    net: System1Net,
    specs: SystemSpecs,
    folder: Path,
    training: Mapping[str, Any],
    *,
    name: str = NAME,
    action: ActionSpec | None = None,
) -> Manifest:
    """Write a System 1 bundle.

    Args:
        net: The network, with its residual head if it shall have one; it is frozen, and its weights are
            rounded to float16. It computes in float32.
        specs: What it and its System 2 agree on.
        folder: Where to.
        training: Where the weights came from.
        name: What the bundle is called.
        action: How chunks are to be read; None for those of the table.

    Returns:
        What was written as `bundle.json`.

    Raises:
        BundleError: A graph does not reproduce torch.
    """
    return _export_system1(net, specs, folder, training, name=name, action=action)[0]


def export_system2(
    net: System2Net,
    specs: SystemSpecs,
    vocabulary: Sequence[str],
    folder: Path,
    training: Mapping[str, Any],
    *,
    name: str = NAME,
) -> Manifest:
    """As `export_system1`, for System 2 and its words."""
    return _export_system2(net, specs, vocabulary, folder, training, name=name)[0]


def _export_system1(
    net: System1Net,
    specs: SystemSpecs,
    folder: Path,
    training: Mapping[str, Any],
    variant: Variant | None = None,
    name: str = NAME,
    action: ActionSpec | None = None,
) -> tuple[Manifest, Trial | None]:
    frozen = _frozen(net)
    written = _write_graphs(folder, frozen, system1_graphs(frozen, EULER_STEPS), variant)
    manifest = Manifest(
        format=FORMAT,
        role="system1",
        name=name,
        specs=specs,
        weights=weights_digest(written.files),
        files=written.files,
        action=action or action_spec(net),
        context=CONTEXT,
        sampler=Sampler(EULER_STEPS),
        guidance=Guidance(BETA),
        training={**training, "network": msgspec.to_builtins(net.config), **written.figures},
    )
    write_manifest(folder, manifest)
    return manifest, written.trial


def _export_system2(
    net: System2Net,
    specs: SystemSpecs,
    vocabulary: Sequence[str],
    folder: Path,
    training: Mapping[str, Any],
    variant: Variant | None = None,
    name: str = NAME,
) -> tuple[Manifest, Trial | None]:
    frozen = _frozen(net)
    graphs = system2_graphs(frozen)
    written = _write_graphs(folder, frozen, graphs, variant)
    figures = {**written.figures, "halves": _verify_halves(folder, frozen, graphs, written.trial)}
    manifest = Manifest(
        format=FORMAT,
        role="system2",
        name=name,
        specs=specs,
        weights=weights_digest(written.files),
        files=written.files,
        vocabulary=tuple(vocabulary),
        max_words=net.config.max_words,
        training={**training, **figures},
    )
    write_manifest(folder, manifest)
    return manifest, written.trial


@dataclass(frozen=True)
class _Written:
    """Graphs that were written and verified: hashes of all files, what to tell of it, and the variant."""

    files: dict[str, str]
    figures: dict[str, Any]
    trial: Trial | None


def _verify_halves(
    folder: Path, net: System2Net, graphs: Mapping[str, Graph], trial: Trial | None
) -> dict[str, str]:
    """Require that the halves of System 2 do in sequence what the whole does; returns what to tell of it."""
    measured, from_whole = agreement.measure_halves(graphs, net, folder)
    figures = {**measured.figures(), "largest_from_whole_graph": f"{from_whole:.1e}"}
    lower = trial is not None and trial.wins
    if not (max(measured.graph) <= ERROR_ALLOWED if lower else measured.holds):
        told = ", ".join(f"{key} {value}" for key, value in figures.items())
        raise BundleError(
            f"{folder}: {VISION} and {LANGUAGE} in sequence differ from torch ({told}); not released"
        )
    return figures


def _usual_specs(net: System1Net) -> SystemSpecs:
    return system_specs(new_system2(), net.config.proprioception)


def _frozen(net: Any) -> Any:
    round_to_half(net)
    return net.cpu().float().to(memory_format=torch.contiguous_format).eval().requires_grad_(False)


def _write_graphs(
    folder: Path, net: System1Net | System2Net, graphs: Mapping[str, Graph], variant: Variant | None
) -> _Written:
    """Export and verify all graphs, then try the variant."""
    shared, errors, models = WeightFile(folder / FILE), {}, {}
    for name, graph in graphs.items():
        models[name] = trace(graph)
        slim = copy.deepcopy(models[name])
        shared.take(slim)
        (folder / name).write_bytes(slim.SerializeToString())
        onnx.checker.check_model(str(folder / name))
        measured = agreement.measure(graph, net, folder / name)
        errors[name] = measured.figures()
        if not measured.holds:
            told = ", ".join(f"{key} {value}" for key, value in errors[name].items())
            raise BundleError(
                f"{folder / name}: differs from torch by more than {agreement.TOLERANCE:.0e} and more than "
                f"rounding explains ({told}); not released"
            )
    figures: dict[str, Any] = {"error_against_torch_float64": errors}
    trial = None
    if variant is not None:
        with TemporaryDirectory(prefix="dualsys-export-") as other:
            trial = attempt(models, graphs, net, variant, folder, Path(other))
            if trial.wins:
                for name in (FILE, *graphs):
                    shutil.copyfile(Path(other) / name, folder / name)
        figures["variant"] = {"kept": trial.wins, **msgspec.to_builtins(trial)}
    return _Written(hash_files(folder, [FILE, *graphs]), figures, trial)
