"""The checkpoints beside the shipped bundles: the same networks, for torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pybullet")

import torch

from dualsys.bundles import load_manifest
from dualsys.fast.policies.onnx import OnnxSystem1
from dualsys.models import System2Net
from dualsys.slow.backends.onnx import OnnxSystem2
from dualsys.train.checkpoint import load_network, load_system1
from dualsys.train.residual import load_residual
from dualsys.train.variants import word_indices

FOLDER = Path(__file__).parents[2] / "bundles/tabletop"


def test_the_checkpoint_of_system_1_and_its_head_are_the_bundle(rng: np.random.Generator) -> None:
    policy = OnnxSystem1(FOLDER / "system1")
    net = load_system1(FOLDER / "checkpoints/system1.pt").eval()
    net.residual = load_residual(FOLDER / "checkpoints/residual.pt", net)
    # Latents that hardly differ, as at work: others would be rates that no arm has seen.
    tokens = rng.standard_normal((8, 128)) + 0.01 * rng.standard_normal((policy.latents, 8, 128))
    tokens = tokens.astype(np.float32)
    age_s = np.array([0.2, 0.4, 0.6, 0.8], np.float32)
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    state = net.state_mean.numpy()
    x, action = (rng.standard_normal(shape, np.float32) for shape in ((16, 4), 4))
    tau, phase = np.full(16, 0.4, np.float32), np.array([0.6, 0.8], np.float32)
    wrist = np.stack([policy.encode_wrist(image)] * 2)
    condition = policy.condition(tokens, age_s, wrist, state)
    with torch.no_grad():
        features = net.wrist(torch.from_numpy(image)[None]).expand(1, 2, -1, -1)
        seen = (torch.from_numpy(array)[None] for array in (tokens, age_s))
        encoded = net.encode(*seen, features, torch.from_numpy(state)[None])
        velocity = net.velocity(
            torch.from_numpy(x)[None], torch.from_numpy(tau)[None], net.condition(encoded)
        )[0]
        correction = net.correction(torch.from_numpy(action)[None], torch.from_numpy(phase)[None], encoded)[0]
    np.testing.assert_allclose(policy.velocity(x, tau, condition), velocity.numpy(), rtol=1e-3, atol=1e-4)
    corrected = policy.residual(action, phase, tokens, age_s, wrist, state)
    np.testing.assert_allclose(corrected, correction.numpy(), rtol=1e-3, atol=1e-4)


def test_the_checkpoint_of_system_2_is_the_bundle(rng: np.random.Generator) -> None:
    net = load_network(FOLDER / "checkpoints/system2.pt").eval()
    assert isinstance(net, System2Net)
    system2 = OnnxSystem2(FOLDER / "system2")
    image, text = rng.integers(0, 256, (96, 128, 3), np.uint8), "pick the red cube"
    words = word_indices(text, load_manifest(FOLDER / "system2", "system2").vocabulary)
    with torch.no_grad():
        latent = net(torch.from_numpy(image)[None], torch.from_numpy(words.astype(np.int64))[None])[0][0]
    tokens = system2.encode({"fixed": image}, np.zeros(9, np.float32), text).tensors["tokens"]
    np.testing.assert_allclose(tokens, latent.numpy(), rtol=1e-3, atol=1e-3)
