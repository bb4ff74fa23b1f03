"""System 1 sampled by torch itself, as a runtime without graphs would do it: what the graphs compete with.

The steps are those of `models.flow` over the network; guidance takes its vector-Jacobian product from
automatic differentiation. What does not depend on the chunk is computed once a plan, as in the graphs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from dualsys.models.flow import (
    Field,
    LinearField,
    PullBack,
    constant,
    differentiated,
    sample,
    sample_guided,
    sample_prefix,
)
from dualsys.models.system1 import System1Config, System1Net
from dualsys.train.checkpoint import load_system1
from dualsys.train.export import export_untrained
from dualsys.train.graphs import EULER_STEPS, Inputs, field_of, prefix_field_of, system1_graphs

Array = NDArray[Any]

SEED = 5
COMPILERS = ("g++", "clang++", "c++")
RANDOM_SPREAD = 0.05
"""Standard deviation of random weights that would start from zero."""


class TorchPlans:
    """Plans of one situation, each a function without arguments that returns a chunk `[1, H, A]`.

    Args:
        net: The network, frozen.
        steps: Euler steps.
        inputs: Of the guided graph: noise, previous, weights, guidance, keys, values, state.
    """

    def __init__(self, net: System1Net, steps: int, inputs: Inputs) -> None:
        self._net, self._steps, self._given = net, steps, inputs
        self._context = inputs["keys"], inputs["values"], inputs["state"]
        self._tau = torch.arange(steps) / steps

    @torch.no_grad()
    def plain(self) -> Tensor:
        """Without guidance."""
        return sample(self._field(), self._given["noise"], self._steps)

    @torch.no_grad()
    def constant(self) -> Tensor:
        """Guided, the velocity taken for constant: no derivative."""
        return self._guided(constant(self._field()))

    @torch.no_grad()
    def guided(self) -> Tensor:
        """Guided, with the derivative of the network."""
        return self._guided(automatic(self._field()))

    @torch.no_grad()
    def simple(self) -> Tensor:
        """As `guided`, with nothing taken out of the loop: every step asks the network for its velocity."""
        return self._guided(automatic(field_of(self._net, self._context, self._steps)))

    @torch.no_grad()
    def prefix(self) -> Tensor:
        """Behind the beginning of `previous` where the weight is 1."""
        fixed = self._given["weights"] >= 1.0
        field = prefix_field_of(self._net, self._context, fixed, self._steps)
        return sample_prefix(field, self._given["noise"], self._given["previous"], fixed, self._steps)

    def compiled(self) -> dict[str, Callable[[], Tensor]]:
        """`plain`, `constant` and `guided` with every Euler step compiled; compiles all three.

        Raises:
            RuntimeError: There is no C++ compiler, or torch failed to compile.
        """
        if not any(map(shutil.which, COMPILERS)):
            raise RuntimeError(f"no C++ compiler was found ({', '.join(COMPILERS)})")
        from torch._inductor import config

        config.compile_threads = 1
        keys, values, _ = self._context

        def plain_step(x: Tensor, modulations: list[Tensor]) -> Tensor:
            return x + self._net.field(x, modulations, keys, values) / self._steps

        def guided_step(x: Tensor, modulations: list[Tensor], pull: Tensor, rest: Tensor) -> Tensor:
            velocity, pull_back = differentiated(
                lambda chunk, _: self._net.field(chunk, modulations, keys, values)
            )(x, 0)
            error = pull * (self._given["previous"] - (x + rest * velocity))
            return x + velocity / self._steps + error + rest * pull_back(error)

        def constant_step(x: Tensor, modulations: list[Tensor], pull: Tensor, rest: Tensor) -> Tensor:
            velocity = self._net.field(x, modulations, keys, values)
            return x + velocity / self._steps + pull * (self._given["previous"] - (x + rest * velocity))

        fast_plain = torch.compile(plain_step, dynamic=False)

        @torch.no_grad()
        def plain() -> Tensor:
            x = self._given["noise"]
            for modulations in self._modulations():
                x = fast_plain(x, modulations)
            return x

        def following(step: Callable[..., Tensor]) -> Callable[[], Tensor]:
            fast = torch.compile(step, dynamic=False)

            @torch.no_grad()
            def guided() -> Tensor:
                x, weights = self._given["noise"], self._given["weights"].unsqueeze(-1)
                pulls = (self._given["guidance"] / self._steps).reshape(-1, 1, 1, 1) * weights
                rests = 1.0 - self._tau
                for modulations, pull, rest in zip(self._modulations(), pulls, rests, strict=True):
                    x = fast(x, modulations, pull, rest)
                return x

            return guided

        ways = {
            "compiled plain": plain,
            "compiled guided": following(guided_step),
            "compiled constant": following(constant_step),
        }
        for way in ways.values():
            way()
        return ways

    def _field(self) -> Field:
        keys, values, _ = self._context
        modulations = self._modulations()
        return lambda x, step: self._net.field(x, modulations[step], keys, values)

    def _modulations(self) -> list[list[Tensor]]:
        """Of every Euler step, each for all blocks; all steps at once."""
        state = self._given["state"].expand(self._steps, -1)
        together = self._net.modulations(self._tau.unsqueeze(1), state)
        return [[block[step : step + 1] for block in together] for step in range(self._steps)]

    def _guided(self, field: LinearField) -> Tensor:
        given = self._given
        return sample_guided(field, given["noise"], given["previous"], given["weights"][0], given["guidance"])


def automatic(field: Field) -> LinearField:
    """A field with the pull-back of the tape of torch, as runtimes in torch take it."""

    def linear(x: Tensor, step: int) -> tuple[Tensor, PullBack]:
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            velocity = field(point, step)
        return velocity.detach(), lambda gradient: torch.autograd.grad(velocity, point, gradient)[0]

    return linear


@dataclass(frozen=True)
class Competition:
    """What a benchmark needs to compare torch with a bundle of the same weights.

    Attributes:
        seen: Inputs of the condition graph, by name, with a batch dimension of 1.
        followed: Inputs of the guided graph, in the situation that `seen` shows.
        plans: Ways to make a plan in torch, by name; each returns a chunk `[1, H, A]`.
        skipped: Ways that this machine does not allow, with the reason.
        version: Of torch.
    """

    seen: dict[str, Array]
    followed: dict[str, Array]
    plans: dict[str, Callable[[], Array]]
    skipped: dict[str, str]
    version: str


def prepare(
    checkpoint: Path | None, following: Mapping[str, Array], bundle: Path, weights: Path, *, compiled: bool
) -> Competition:
    """Export a bundle, and set torch up on one thread to make plans with the same weights.

    Args:
        checkpoint: Of a System 1; None for random weights.
        following: Inputs of the guided graph to use in place of random ones, by name.
        bundle: Folder for the bundle.
        weights: File for the weights, see `first_plan`.
        compiled: Compile steps, too.

    Raises:
        BundleError: The checkpoint does not fit, or a graph does not reproduce torch.
    """
    torch.set_num_threads(1)
    net = random_network() if checkpoint is None else load_system1(checkpoint)
    export_untrained(net, bundle)
    torch.save(net.state_dict(), weights)
    graphs = system1_graphs(net, EULER_STEPS)
    seen, followed = graphs["condition.onnx"].draw(SEED), graphs["guided.onnx"].draw(SEED)
    followed |= {name: torch.from_numpy(values) for name, values in following.items()}
    plans = TorchPlans(net, EULER_STEPS, followed)
    ways: dict[str, Callable[[], Tensor]] = {
        "plain": plans.plain,
        "guided": plans.guided,
        "simple guided": plans.simple,
        "constant": plans.constant,
        "prefix": plans.prefix,
    }
    skipped = {}
    if compiled:
        try:
            ways |= plans.compiled()
        except RuntimeError as error:
            skipped["compiled"] = str(error).strip().splitlines()[0]
    else:
        skipped["compiled"] = "not asked for"
    return Competition(
        {name: value.numpy() for name, value in seen.items()},
        {name: value.numpy() for name, value in followed.items()},
        {name: _as_array(way) for name, way in ways.items()},
        skipped,
        str(torch.__version__),
    )


def random_network() -> System1Net:
    """A network of the shipped size, frozen, whose weights are random, those too that start from zero."""
    torch.manual_seed(SEED)
    net = System1Net(System1Config())
    for weight in net.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=RANDOM_SPREAD)
    return net.eval().requires_grad_(False)


def _as_array(way: Callable[[], Tensor]) -> Callable[[], Array]:
    return lambda: way().numpy()
