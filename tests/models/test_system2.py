"""System 2: what its latent is made of."""

from __future__ import annotations

import torch

from dualsys.models import System2Config, System2Net

SIZES = System2Config(
    vocabulary=9, max_words=4, tasks=2, directions=2, colours=3, shapes=2,
    height_px=16, width_px=16, width=16, queries=3, depth=2, heads=2,
)  # fmt: skip


def _images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 16, 16, 3), dtype=torch.uint8)


def test_attention_may_go_to_one_place_that_is_not_in_the_image() -> None:
    torch.manual_seed(0)
    net, looks = System2Net(SIZES), list[torch.Tensor]()
    latent = net.think(net.see(_images(2)), torch.randint(1, 9, (4, 4)), looks)
    assert latent.shape == (4, 3, 16)
    assert [tuple(scores.shape) for scores in looks] == [(4, 2, 2 * 2 + 1)] * 2


def test_seeing_is_indexing_what_the_vision_tower_shows() -> None:
    torch.manual_seed(0)
    net, images = System2Net(SIZES), _images(2)
    words = torch.randint(1, 9, (2, 4))
    whole = net.think(net.see(images), words)
    torch.testing.assert_close(net.think(net.index(net.vision(images)), words), whole)


def test_each_image_is_asked_its_own_questions() -> None:
    torch.manual_seed(0)
    net, images = System2Net(SIZES).eval(), _images(2)
    words = torch.randint(1, 9, (4, 4))
    together = net.think(net.see(images), words)
    apart = torch.cat([net.think(net.see(images[i : i + 1]), words[2 * i : 2 * i + 2]) for i in (0, 1)])
    torch.testing.assert_close(together, apart)


def test_kinds_are_logits_of_colours_and_shapes() -> None:
    colour, shape = System2Net(SIZES).kinds(torch.randn(5, 16))
    assert (colour.shape, shape.shape) == ((5, 3), (5, 2))
