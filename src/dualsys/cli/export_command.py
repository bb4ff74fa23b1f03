"""`dualsys export`: from a checkpoint of training to a verified bundle."""

from __future__ import annotations

from dualsys.cli.arguments import ExportCommand
from dualsys.telemetry.extras import optional

NEEDED = ("torch", "onnx", "onnxscript")


def export(command: ExportCommand) -> None:
    """Make the bundle, and print how its graphs agree with torch and how a variant did.

    Raises:
        MissingExtraError: torch, or what it exports with, is not installed.
        BundleError: The checkpoint does not fit, or a graph does not compute what torch computes.
    """
    for package in NEEDED:
        optional(package, "exporting a bundle", "train")
    from dualsys.train.export import export_checkpoint

    manifest, trial = export_checkpoint(command.checkpoint, command.out, command.variant, command.residual)
    for name, figures in manifest.training["error_against_torch_float64"].items():
        told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items())
        print(f"{name}: error against torch in float64: {told}")
    for line in trial.lines() if trial is not None else ():
        print(line)
    size_mb = sum((command.out / name).stat().st_size for name in manifest.files) / 1e6
    print(f"{command.out}: {manifest.role} {manifest.weights}, {len(manifest.files)} files, {size_mb:.1f} MB")
