"""panda-gym's `PandaPickAndPlace-v3`, its marker red: `dualsys_sim.red_marker:PandaPickAndPlaceRedMarker-v3`.

There the marker has the cube's own green, and is told from it by being translucent. PyBullet's renderer draws
it as solid, so that a picture shows two green cubes of one size. All else, places, motion and judgement, is
panda-gym's.
"""

from __future__ import annotations

from typing import Any, Final

import gymnasium

ORIGINAL: Final = "panda_gym:PandaPickAndPlace-v3"
ENVIRONMENT: Final = "PandaPickAndPlaceRedMarker-v3"
MARKER_RGBA: Final = (0.9, 0.1, 0.1, 0.3)
"""As translucent as it was."""


def make(**arguments: Any) -> gymnasium.Env[Any, Any]:
    """The environment, from arguments for panda-gym's own."""
    env: Any = gymnasium.make(ORIGINAL, **arguments).unwrapped
    sim = env.sim
    sim.physics_client.changeVisualShape(sim._bodies_idx["target"], -1, rgbaColor=MARKER_RGBA)
    made: gymnasium.Env[Any, Any] = env
    return made


gymnasium.register(id=ENVIRONMENT, entry_point=make, max_episode_steps=50)
