"""From the request of a chunk strategy to a chunk: which sampler of System 1 is asked, and how."""

from __future__ import annotations

from typing import cast

import numpy as np

from dualsys.fast.chunking.bid import best_candidate
from dualsys.fast.chunking.requests import (
    Candidates,
    Guidance,
    Plain,
    Prefix,
    Ramp,
    Replacement,
    Request,
    RollForward,
    led_steps,
)
from dualsys.fast.policies import euler
from dualsys.fast.policies.policy import (
    Condition,
    Float32Array,
    GuidedSampler,
    PrefixSampler,
    System1,
    VelocityField,
    WeakSampler,
)


def draw(policy: System1, request: Request, noise: Float32Array, condition: Condition) -> Float32Array:
    """A chunk float32 `[H, 4]`.

    Args:
        policy: System 1; it offers what the request needs, which is checked when a planner is built.
        request: From the chunk strategy.
        noise: float32 `[K, H, 4]`, K = `requests.noises_for(request)`, standard normal.
        condition: From `System1.condition`.

    Raises:
        PolicyError: The policy failed.
    """
    match request:
        case Plain() | RollForward():
            return policy.sample(noise[0], condition)
        case Guidance():
            return _guided(policy, request, noise[0], condition)
        case Prefix(previous, given):
            chunk = cast(PrefixSampler, policy).sample_prefix(noise[0], previous, given, condition)
            # The last line of the paper's sampler, for graphs that round on the way out.
            return np.where(given[:, None] != 0.0, previous, chunk)
        case Candidates():
            return _best(policy, request, noise, condition)
        case Replacement(previous, count):
            field = _field(policy, condition)
            return _single(euler.replaced(field, noise[0], previous, count, policy.steps))
        case Ramp(previous, count, strengths):
            field = _field(policy, condition)
            return _single(euler.ramped(field, noise[0], previous, count, strengths, policy.steps))


def _guided(policy: System1, request: Guidance, noise: Float32Array, condition: Condition) -> Float32Array:
    schedule, x, first = request.schedule(policy.steps), noise, 0
    if request.jacobian == "exact":
        sampler = cast(GuidedSampler, policy)
        chunk = sampler.guided(noise, condition, request.previous, request.weights, schedule)
        if request.led is None:
            return chunk
        # Back along the straight line to its noise, to where the last steps are done again.
        first = policy.steps - led_steps(policy.steps)
        tau = np.float32(first / policy.steps)
        x = tau * chunk + (1 - tau) * noise
    field = _field(policy, condition)
    places = None
    if request.led is not None:
        # Tool actions are travel but for the gripper, which stands last.
        places = euler.Places(len(policy.action.names) - 1, request.led.weights, request.led.planned)
    return _single(euler.guided(field, x, request.previous, request.weights, schedule, places, first))


def _best(policy: System1, request: Candidates, noise: Float32Array, condition: Condition) -> Float32Array:
    strong = np.stack([policy.sample(one, condition) for one in noise[: request.count]])
    weak = None
    if request.nearest:
        sampler = cast(WeakSampler, policy)
        weak = np.stack([sampler.sample_weak(one, condition) for one in noise[request.count :]])
    best: Float32Array = strong[
        best_candidate(strong, request.previous, request.weights, weak, request.nearest)
    ]
    return best


def _field(policy: System1, condition: Condition) -> euler.Field:
    """The velocity under one condition."""
    network = cast(VelocityField, policy)
    return lambda x, tau: network.velocity(_single(x), _single(tau), condition)


def _single(array: euler.Array) -> Float32Array:
    return array.astype(np.float32, copy=False)
