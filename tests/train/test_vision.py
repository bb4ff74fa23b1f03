"""System 2's training: where it is taught to look, and which errors count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dualsys.models import System2Config, System2Net
from dualsys.models.system2 import Reading
from dualsys.robots.kinematics import PANDA
from dualsys.train import vision
from dualsys.train.variants import IGNORED
from dualsys.train.vision import (
    QUESTIONS,
    VisionData,
    draw_batch,
    jitter_light,
    kind_loss,
    look_loss,
    look_targets,
    reading_accuracy,
    reading_losses,
    train_system2,
    with_nowhere,
)
from dualsys_sim.cameras import FIXED_CAMERA
from dualsys_sim.episode import make_episode
from dualsys_sim.world import World

HEIGHT_PX, WIDTH_PX = 96, 128
NOWHERE = np.full(3, np.nan)


def test_attention_is_taught_where_the_object_is_drawn(world: World) -> None:
    episode = replace(make_episode("place", 3), fixed_camera=FIXED_CAMERA)
    world.reset(episode)
    world.place_arm(PANDA.rest_rad + np.array([2.0, 0, 0, 0, 0, 0, 0]), 0.08)
    places = episode.table().position_m
    for index in range(len(places)):
        world.place_object(index, (5.0, index, 0.02), 0.0)
    empty = world.render("fixed").astype(int)
    for index, place in enumerate(places):
        world.place_object(index, place, 0.0)
        drawn = np.abs(world.render("fixed").astype(int) - empty).max(axis=-1) > 25
        world.place_object(index, (5.0, index, 0.02), 0.0)
        target = look_targets(np.array([[*place, *NOWHERE]], np.float32), HEIGHT_PX, WIDTH_PX)[0, 0]
        row, column = divmod(int(target.argmax()), WIDTH_PX // 8)
        assert drawn[8 * row : 8 * row + 8, 8 * column : 8 * column + 8].any(), episode.objects[index]
        rows, columns = np.mgrid[4:HEIGHT_PX:8, 4:WIDTH_PX:8]
        taught = np.array([target @ rows.ravel(), target @ columns.ravel()])
        assert np.linalg.norm(taught - np.argwhere(drawn).mean(axis=0)) < 5.0, episode.objects[index]


def test_a_target_is_a_distribution_or_unknown() -> None:
    places = np.array([[0.5, 0.0, 0.02, *NOWHERE], [0.5, 3.0, 0.02, 0.4, 0.1, 0.0]], np.float32)
    targets = look_targets(places, HEIGHT_PX, WIDTH_PX)
    assert targets.shape == (2, 2, HEIGHT_PX * WIDTH_PX // 64)
    np.testing.assert_allclose(targets[[0, 1], [0, 1]].sum(axis=-1), 1.0, rtol=1e-5)
    assert np.isnan(targets[0, 1]).all()
    assert np.isnan(targets[1, 0]).all()


def test_the_look_loss_leaves_out_what_is_unknown() -> None:
    torch.manual_seed(0)
    targets = torch.softmax(torch.randn(3, 2, 6), dim=-1)
    targets[1, 0] = torch.nan
    looks = [torch.randn(3, 2, 6).requires_grad_() for _ in range(2)]
    loss = look_loss(looks, targets)
    loss.backward()
    assert not looks[0].grad[1, 0].any()
    assert looks[0].grad[1, 1].any()
    known = [(b, p) for b in range(3) for p in range(2) if (b, p) != (1, 0)]
    terms = [-(targets[at] * torch.log_softmax(scores[at], -1)).sum() for scores in looks for at in known]
    torch.testing.assert_close(loss, torch.stack(terms).mean())


def test_nothing_known_is_no_look_loss() -> None:
    assert look_loss([torch.randn(2, 2, 6)], torch.full((2, 2, 6), torch.nan)) == 0.0


def test_the_look_loss_is_least_where_attention_is_as_taught() -> None:
    torch.manual_seed(0)
    targets = torch.softmax(torch.randn(3, 2, 6), dim=-1)
    best = look_loss([targets.log()], targets)
    assert best < look_loss([targets.log() + 0.3 * torch.randn(3, 2, 6)], targets)


def reading_of(count: int) -> Reading:
    """Random predictions with gradients."""
    torch.manual_seed(6)
    shapes = {"position": (3,), "goal": (3,), "presence": (), "task": (4,), "direction": (4,), "colour": (6,)}
    tensors = {name: torch.randn(count, *shape).requires_grad_() for name, shape in shapes.items()}
    return Reading(**tensors, shape=torch.randn(count, 2).requires_grad_())


def test_what_is_absent_is_looked_for_nowhere() -> None:
    targets = torch.rand(3, 2, 5)
    classes = torch.tensor([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]])
    wider = with_nowhere(targets, classes)
    assert wider.shape == (3, 2, 6)
    torch.testing.assert_close(wider[[0, 2], :, :5], targets[[0, 2]])
    torch.testing.assert_close(wider[1, 1, :5], targets[1, 1])
    assert wider[1, 0].tolist() == [0, 0, 0, 0, 0, 1]
    assert not wider[[0, 2], :, 5].any()
    assert wider[1, 1, 5] == 0


class _Kinds(torch.nn.Module):
    """Image tokens that say themselves what they show: three colours, then two shapes."""

    def kinds(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        colour, shape = tokens.split([3, 2], dim=-1)
        return colour, shape


def test_kinds_are_read_where_the_named_object_appears() -> None:
    sure = 20.0
    tokens = sure * torch.tensor([[[1.0, 0, 0, 1, 0], [0, 1, 0, 0, 1]], [[0, 0, 1, 0, 1], [1, 0, 0, 1, 0]]])
    # Two questions of each image; the third names what is not there, the fourth is out of view.
    looks = torch.tensor([[0.0, 1], [1, 0], [1, 0], [np.nan, np.nan]])
    right = torch.tensor([[1, 0, 0, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [1, 0, 0, 1, 0]])
    net: Any = _Kinds()
    assert kind_loss(net, tokens, looks, right) < 1e-6
    wrong = right.clone()
    wrong[0, 3:] = torch.tensor([0, 0])
    assert kind_loss(net, tokens, looks, wrong) > sure / 2


def test_no_object_in_view_teaches_no_kind() -> None:
    looks, classes = torch.full((2, 2), np.nan), torch.tensor([[1, 0, 0, 1, 1], [0, 0, 0, 0, 0]])
    net: Any = _Kinds()
    assert kind_loss(net, torch.zeros(1, 2, 5), looks, classes) == 0


def test_unknown_places_and_ignored_classes_cost_nothing() -> None:
    reading = reading_of(3)
    places = torch.rand(3, 6)
    places[0, :3] = torch.nan
    places[2, 3:] = torch.nan
    classes = torch.tensor([[0, 1, 0, 2, IGNORED], [1, 3, 2, 5, 1], [1, 0, 1, 0, 0]], dtype=torch.int8)
    losses = reading_losses(reading, places, classes)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    for tensor, row in ((reading.position, 0), (reading.goal, 2), (reading.shape, 0)):
        assert torch.isfinite(tensor.grad).all()
        assert not tensor.grad[row].any()
        assert tensor.grad[1].any()


def test_an_object_that_fell_off_the_table_costs_nothing() -> None:
    fallen, lying = torch.tensor([[0.5, 0.1, -40.0]]), torch.tensor([[0.5, 0.1, 0.02]])
    assert vision.place_loss(torch.zeros(1, 3), fallen).item() == 0.0
    assert vision.place_loss(torch.zeros(1, 3), lying).item() > 0.0


def test_a_shifted_image_keeps_its_content_and_repeats_its_border() -> None:
    torch.manual_seed(0)
    image = torch.arange(6 * 8, dtype=torch.uint8).reshape(1, 6, 8, 1).expand(200, 6, 8, 3)
    shifted = vision.jitter_view(image)
    seen = set()
    for one in shifted[..., 0].int():
        down, right = divmod(int(one[2, 3]), 8)
        down, right = down - 2, right - 3
        rows = (torch.arange(6) + down).clamp(0, 5)
        columns = (torch.arange(8) + right).clamp(0, 7)
        assert torch.equal(one, rows[:, None] * 8 + columns)
        seen.add((down, right))
    assert seen == {(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)}


def test_place_errors_are_measured_against_two_centimetres() -> None:
    reading = reading_of(1)
    places = torch.cat([reading.position.detach() + 0.01, torch.full((1, 3), torch.nan)], dim=-1)
    losses = reading_losses(reading, places, torch.tensor([[1, 0, 0, 0, 0]], dtype=torch.int8))
    # 0.01 m is half a unit, a quarter when squared, on each of three axes.
    assert losses["position"].item() == pytest.approx(3 * 0.5 * 0.25, rel=1e-4)
    assert losses["goal"] == 0.0


def test_a_right_reading_costs_almost_nothing() -> None:
    places, classes = torch.rand(1, 6), torch.tensor([[1, 2, 0, 5, 1]], dtype=torch.int8)
    logits = [20 * torch.eye(size)[[index]] for size, index in ((4, 2), (4, 0), (6, 5), (2, 1))]
    reading = Reading(places[:, :3], places[:, 3:], torch.tensor([20.0]), *logits)
    assert sum(reading_losses(reading, places, classes).values()) < 1e-6


def numbered(images: int, variants: int, first: int) -> VisionData:
    """Data whose entries all tell their own row and column."""
    rows, columns = np.mgrid[first : first + images, :variants]
    return VisionData(
        images=np.broadcast_to(rows[:, :1, None, None], (images, 16, 16, 3)).astype(np.uint8),
        words=np.stack([rows, columns], axis=-1).astype(np.int16),
        places=np.repeat((rows + 100 * columns)[..., None], 6, axis=-1).astype(np.float32),
        classes=np.repeat(columns[..., None], 5, axis=-1).astype(np.int8),
    )


def test_a_batch_asks_different_questions_of_each_image() -> None:
    torch.manual_seed(3)
    images, words, places, classes = draw_batch([numbered(40, 6, 0), numbered(3, 5, 100)], 200)
    rows = images[:, 0, 0, 0].long().repeat_interleave(QUESTIONS)
    assert torch.equal(words[:, 0], rows)
    assert torch.equal(places[:, 0].long(), rows + 100 * words[:, 1])
    assert torch.equal(classes[:, 4].long(), words[:, 1])
    asked = words[:, 1].reshape(200, QUESTIONS)
    assert all(len(set(row)) == QUESTIONS for row in asked.tolist())


def test_recordings_are_drawn_alike_whatever_their_size() -> None:
    torch.manual_seed(3)
    images, *_ = draw_batch([numbered(90, 6, 0), numbered(3, 5, 100)], 2000)
    assert (images[:, 0, 0, 0] >= 100).float().mean() == pytest.approx(0.5, abs=0.04)


def test_light_is_jittered_within_bounds_and_images_stay_images() -> None:
    torch.manual_seed(3)
    images = torch.full((300, 2, 2, 3), 100, dtype=torch.uint8)
    lit = jitter_light(images)
    assert lit.dtype == torch.uint8
    assert lit.shape == images.shape
    assert (lit.min(), lit.max()) == (85, 114)
    assert (lit == lit[:, :1, :1]).all()
    assert jitter_light(torch.full((50, 1, 1, 3), 255, dtype=torch.uint8)).min() > 200


class Oracle:
    """Reads the truth from the words: every tenth instruction it gets wrong."""

    def __init__(self, data: VisionData) -> None:
        self._data = data

    def eval(self) -> None:
        """It is always ready."""

    def see(self, images: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values that nobody looks at."""
        return [(torch.zeros(len(images), 1), torch.zeros(len(images), 1))]

    def think(self, seen: list[tuple[torch.Tensor, torch.Tensor]], words: torch.Tensor) -> torch.Tensor:
        """Remember who asks: as many instructions about each image as there are columns, image by image."""
        images, columns = len(seen[0][0]), self._data.words.shape[1]
        assert torch.equal(words[:, 1], torch.arange(columns).repeat(images))
        return words

    def reading(self, words: torch.Tensor) -> Reading:
        """The truth, or beside it."""
        row, column = words.T.numpy()
        wrong = (row + column) % 10 == 0
        places, classes = self._data.places[row, column], self._data.classes[row, column].astype(np.int64)
        position = torch.from_numpy(places[:, :3] + np.where(wrong, 0.1, 0.003)[:, None] * [0.6, 0.8, 0.0])
        heads = []
        for index, size in enumerate((6, 6, 6, 6), start=1):
            heads.append(torch.eye(size)[(classes[:, index] + wrong) % size])
        present = torch.from_numpy((classes[:, 0] > 0) ^ wrong).float() - 0.5
        return Reading(position, position, present, *heads)


def test_accuracy_counts_what_is_wrong() -> None:
    data = numbered(200, 5, 0)
    data = replace(data, classes=np.minimum(data.classes, [1, 9, 9, 9, 9]).astype(np.int8))
    accuracy = reading_accuracy(Oracle(data), data, np.arange(200))  # type: ignore[arg-type]
    assert accuracy["position_mm_p50"] == pytest.approx(3.0, abs=0.1)
    assert accuracy["position_mm_p99"] == pytest.approx(100.0, abs=0.1)
    for name in ("presence", "task", "direction", "colour", "shape"):
        assert accuracy[f"{name}_error"] == pytest.approx(0.1, abs=1e-6), name


def test_training_steps_keep_a_checkpoint_and_return_the_average(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vision, "BATCH", 6)
    torch.manual_seed(0)
    config = System2Config(
        vocabulary=45, max_words=2, tasks=6, directions=6, colours=6, shapes=6, height_px=16, width_px=16,
        width=32, queries=2, depth=1, heads=2,
    )  # fmt: skip
    net = System2Net(config)
    data = numbered(40, 5, 0)
    places = np.resize([0.5, 0.0, 0.02, 0.4, 0.1, 0.0], data.places.shape).astype(np.float32)
    data = replace(data, places=places, classes=np.minimum(data.classes, [1, 9, 9, 9, 9]).astype(np.int8))
    average = train_system2(net, [data], tmp_path, steps=3, seed=1)
    assert average is not net
    assert (tmp_path / "system2.pt").exists()
    assert all(torch.isfinite(tensor).all() for tensor in average.state_dict().values())
