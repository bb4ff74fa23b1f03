"""Bidirectional decoding: draw many chunks, play the one that fits best to what is planned.

Source: Y. Liu et al., "Bidirectional Decoding: Improving Action Chunking via Guided Test-Time Sampling",
arXiv:2408.17355 (ICLR 2025). Backward loss: L_b(a) = sum_h W_h ||a_h - Y_h||. With a weak policy, the forward
contrast is added: (sum of the distances to the K best strong chunks - sum of those to the K best weak ones) /
N, the distance of two chunks being sum_h ||.||.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dualsys.fast.chunking.asynchronous import Continuing
from dualsys.fast.chunking.masks import MaskShape, soft_mask
from dualsys.fast.chunking.requests import Candidates, Request
from dualsys.fast.chunking.strategy import About, Overlap
from dualsys.fast.policies.policy import Capability, Float32Array


class BidirectionalDecoding(Continuing):
    """Chooses among plain samples.

    Args:
        samples: N, chunks that are drawn.
        nearest: K of the forward contrast, which takes a weak policy (`fast.weak_bundle`); 0: backward loss
            only.
        mask: How the weights of the backward loss fall after the frozen part, as in `rtc`.
        execution_horizon: Actions that are at least begun between the starts of two plan jobs.

    Raises:
        ConfigError: A value that is not allowed; names all of them.
    """

    name = "bid"
    about = About(
        summary="draws many chunks and plays the one nearest to what is planned",
        paper="bidirectional decoding, arXiv:2408.17355",
        needs="weak (fast.weak_bundle) with nearest > 0",
        cost="N n; with nearest > 0 as many of the weak policy besides, and its context",
    )

    def __init__(
        self, samples: int = 16, nearest: int = 0, mask: MaskShape = "exp", execution_horizon: int = 1
    ) -> None:
        faults = []
        if samples < 1:
            faults.append(f"samples: expected at least 1, got {samples}")
        if not 0 <= nearest <= max(samples, 1):
            faults.append(f"nearest: expected 0 to samples {samples}, got {nearest}")
        super().__init__(execution_horizon, tuple(faults))
        self._samples, self._nearest, self._mask = samples, nearest, mask

    @property
    def needs(self) -> frozenset[Capability]:
        """Plain samples, and those of a weak policy for the forward contrast."""
        return frozenset({"sampler", "weak"}) if self._nearest else frozenset({"sampler"})

    def continuing(self, overlap: Overlap, shared: int) -> Request:
        """Candidates, weighted along the planned motion."""
        weights = soft_mask(overlap.delay_steps, shared, len(overlap.previous), self._mask)
        return Candidates(self._samples, overlap.held(shared), weights, self._nearest)


def best_candidate(
    strong: Float32Array,
    previous: Float32Array,
    weights: Float32Array,
    weak: Float32Array | None = None,
    nearest: int = 0,
) -> int:
    """Index of the chunk with the least loss.

    Args:
        strong: float32 `[N, H, A]`, the candidates.
        previous: float32 `[H, A]`, Y.
        weights: float32 `[H]`, W.
        weak: float32 `[M, H, A]`, chunks of the weak policy; None: backward loss only.
        nearest: K, how many of each kind the forward contrast compares with.
    """
    loss = _backward(strong, previous, weights)
    if weak is not None:
        best_strong = strong[np.argsort(loss, kind="stable")[:nearest]]
        best_weak = weak[np.argsort(_backward(weak, previous, weights), kind="stable")[:nearest]]
        contrast = _distances(strong, best_strong).sum(axis=1) - _distances(strong, best_weak).sum(axis=1)
        loss = loss + contrast / len(strong)
    return int(np.argmin(loss))


def _backward(chunks: Float32Array, previous: Float32Array, weights: Float32Array) -> NDArray[np.float64]:
    """L_b float64 `[N]` of chunks `[N, H, A]`."""
    gaps = np.linalg.norm((chunks - previous).astype(np.float64), axis=-1)
    losses: NDArray[np.float64] = gaps @ weights.astype(np.float64)
    return losses


def _distances(left: Float32Array, right: Float32Array) -> NDArray[np.float64]:
    """Distances float64 `[N, M]` of chunks `[N, H, A]` and `[M, H, A]`."""
    gaps = left[:, None].astype(np.float64) - right[None].astype(np.float64)
    distances: NDArray[np.float64] = np.linalg.norm(gaps, axis=-1).sum(axis=-1)
    return distances


STRATEGY = BidirectionalDecoding
