"""Torch networks of the two systems.

Needs the extra `train`; nothing that runs at the edge imports this package.
"""

from dualsys.models.system1 import System1Config, System1Net
from dualsys.models.system2 import System2Config, System2Net

__all__ = ["System1Config", "System1Net", "System2Config", "System2Net"]
