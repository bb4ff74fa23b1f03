"""What a bundle of System 1 offers, by its manifest alone: no graph is opened, and no runtime is needed."""

from __future__ import annotations

from dualsys.bundles import Manifest
from dualsys.fast.policies.policy import Capability

RESIDUAL = "residual.onnx"
"""The graph of a residual head, which a bundle may have besides."""


def offered_by(manifest: Manifest) -> frozenset[Capability]:
    """What the format of a bundle offers, and a residual head if it has one."""
    offered: set[Capability] = {"sampler", "guided"}
    if manifest.format > 1:
        offered |= {"guidance_schedule", "velocity", "prefix"}
    if RESIDUAL in manifest.files:
        offered.add("residual")
    return frozenset(offered)


def with_weak(offered: frozenset[Capability]) -> frozenset[Capability]:
    """What a System 1 offers with a weak policy beside it: samples of both, and its residual head.

    Nothing else is asked for beside a weak policy: a strategy that does without one is refused with it.
    """
    return (offered & {"sampler", "residual"}) | {"weak"}
