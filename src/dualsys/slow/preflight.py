"""Whether System 2 can be served from its bundle, and knows the words, said before any process is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dualsys.bundles import LANGUAGE, MANIFEST, WHOLE, Manifest, bundle_file, half_file, load_manifest
from dualsys.errors import BundleError, InstructionError
from dualsys.slow.vocabulary import Vocabulary

if TYPE_CHECKING:
    from dualsys.config import SlowConfig


def require_servable(slow: SlowConfig, instruction: str | None) -> Manifest:
    """Read and verify the manifest of System 2; no graph is opened.

    Args:
        slow: Settings of System 2.
        instruction: The setting `run.instruction`, which it has to understand; None: the task says it later.

    Returns:
        The manifest.

    Raises:
        BundleError: The bundle is missing, damaged or of another role, or lacks the graph that
            `slow.uplink` asks for.
        InstructionError: The instruction has no words, too many, or unknown ones; lists those and the known.
    """
    try:
        manifest = load_manifest(slow.bundle, "system2")
        if slow.uplink == "features":
            half_file(slow.bundle, manifest, LANGUAGE)
        else:
            bundle_file(slow.bundle, manifest, WHOLE)
    except BundleError as error:
        raise BundleError(f"slow.bundle: {error}") from error
    if instruction is not None:
        try:
            Vocabulary(manifest.vocabulary, manifest.max_words).encode(instruction)
        except InstructionError as error:
            told = f"run.instruction: {error} (the words of {slow.bundle / MANIFEST})"
            raise InstructionError(told) from error
    return manifest
