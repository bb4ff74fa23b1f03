"""From a recording to what System 1 learns from: latents are made, the rest is taken as it was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dualsys.errors import RecordingError
from dualsys.models.system2 import System2Net
from dualsys.train.action import ActionData, encode_latents

RECORDED: Final = tuple(field.name for field in fields(ActionData) if field.name != "latents")
"""What a recording has of it."""


def action_data(system2: System2Net, recorded: Mapping[str, NDArray[np.generic]], kept: Path) -> ActionData:
    """A recording with its latents.

    Args:
        system2: Makes the latents.
        recorded: All arrays of `RECORDED`, and what System 2 was shown: `fixed` uint8 `[F, height, width, 3]`
            and `words` int16 `[F, J, words]`.
        kept: Where the latents are kept, a `.npy` beside the recording; made where it is not there yet.

    Raises:
        RecordingError: An array is missing: it is a recording of before there was one.
    """
    missing = [name for name in (*RECORDED, "fixed", "words") if name not in recorded]
    if missing:
        raise RecordingError(f"{kept.parent}: lacks {', '.join(missing)}; record it anew with this version")
    arrays: dict[str, Any] = dict(recorded)
    latents = encode_latents(system2, arrays["fixed"], arrays["words"], kept)
    return ActionData(**{name: arrays[name] for name in RECORDED}, latents=latents)
