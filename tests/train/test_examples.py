"""What System 1 learns from is what was recorded, and latents of what System 2 was shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dualsys.errors import RecordingError
from dualsys.train import examples
from dualsys.train.examples import RECORDED, action_data


def recording() -> dict[str, Any]:
    """Arrays that give themselves away."""
    names = (*RECORDED, "fixed", "words", "places")
    return {name: np.full(2, number, dtype=np.float32) for number, name in enumerate(names)}


def test_every_array_of_a_recording_stays_what_it_was_and_latents_are_made_of_what_was_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recorded, latents = recording(), np.zeros((2, 3), np.float16)

    def encode(*given: Any) -> Any:
        assert given[0] == "system 2"
        assert given[1] is recorded["fixed"]
        assert given[2] is recorded["words"]
        assert given[3] == tmp_path / "latents.npy"
        return latents

    monkeypatch.setattr(examples, "encode_latents", encode)
    data = action_data("system 2", recorded, tmp_path / "latents.npy")  # type: ignore[arg-type]
    assert data.latents is latents
    assert len(RECORDED) == 9
    assert all(getattr(data, name) is recorded[name] for name in RECORDED)


def test_a_recording_of_before_there_were_all_arrays_says_which_it_lacks(tmp_path: Path) -> None:
    recorded = recording()
    del recorded["played"], recorded["tossed"]
    with pytest.raises(RecordingError, match=f"^{tmp_path}: lacks played, tossed; record it anew"):
        action_data(None, recorded, tmp_path / "latents.npy")  # type: ignore[arg-type]
