"""The kinematics that a planner can be replayed with, each under the name that a recording tells it by."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dualsys.fast.planner.arm import Kinematics
from dualsys.robots.geometry import Cartesian
from dualsys.robots.kinematics import PANDA, Chain
from dualsys.robots.tabletop import ARMS

KINEMATICS: Final[Mapping[str, Kinematics]] = MappingProxyType(
    {
        # Once there was one chain only, and it went by the name of its class: such recordings stay good.
        Chain.__name__: PANDA,
        Cartesian.__name__: Cartesian(),
        **{name: arm.chain for name, arm in ARMS.items() if arm.chain is not PANDA},
    }
)
"""Name to kinematics."""


def name_of(kinematics: Kinematics) -> str:
    """The name to record: that of a table arm, else that of the class, told apart from those above."""
    for name, known in KINEMATICS.items():
        if kinematics is known:
            return name
    kind = type(kinematics).__name__
    # Another chain is none of ours, and must not be replayed as if it were the Panda.
    return f"another {kind}" if isinstance(kinematics, Chain) else kind
