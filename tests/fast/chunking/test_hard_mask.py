from __future__ import annotations

import numpy as np

from dualsys.fast.chunking.hard_mask import HardMask
from dualsys.fast.chunking.requests import Guidance
from dualsys.fast.chunking.strategy import Overlap


def test_only_the_frozen_actions_are_followed() -> None:
    guidance = HardMask(beta=3.0).request(Overlap(np.zeros((8, 4), np.float32), 7, 3))
    assert isinstance(guidance, Guidance)
    np.testing.assert_array_equal(guidance.weights, [1, 1, 1, 0, 0, 0, 0, 0])
    assert guidance.beta == 3.0
