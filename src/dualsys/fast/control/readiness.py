"""What speaks against letting the arm move on after a latched hold or a stop; every reason, for people."""

from __future__ import annotations

import numpy as np

from dualsys.clock import NS_PER_MS
from dualsys.fast.control.ages import Ages
from dualsys.fast.control.limits import FloatArray
from dualsys.fast.control.readings import Tolerances
from dualsys.robots.contract import ArmReading


def faults_of_arm(
    reading: ArmReading, left: FloatArray | None, joints: int, tolerances: Tolerances
) -> list[str]:
    """Why the arm is not where and how it was left.

    Args:
        reading: The newest good reading.
        left: float64 [A], where it was left, rad then m; None if nobody can know.
        joints: How many of the axes are joints.
        tolerances: How far it may have moved, and how fast it may be.
    """
    faults = []
    fastest = np.abs(reading.velocity)[:joints].max(initial=0.0)
    if fastest > tolerances.rest_rad_s:
        rest = f"at most {tolerances.rest_rad_s:g} rad/s"
        faults.append(f"the arm is still moving at {fastest:.3f} rad/s, {rest}")
    if left is not None:
        moved = np.abs(reading.position - left)[:joints].max(initial=0.0)
        if moved > tolerances.moved_rad:
            faults.append(
                f"the arm was moved by {moved:.3f} rad from where it was left, "
                f"at most {tolerances.moved_rad:g} rad"
            )
    return faults


def faults_of_data(now_ns: int, plan_ns: int, latent_ns: int, ages: Ages) -> list[str]:
    """Why what would lead the arm is out of date.

    Args:
        now_ns: Edge time.
        plan_ns: When the newest plan came, followed or not; -1 for none.
        latent_ns: Capture stamp of the newest latent behind such plans; -1 for none.
        ages: How old they may be.
    """
    newest = (("plan", plan_ns, ages.plan_hard_ns), ("latent", latent_ns, ages.latent_soft_ns))
    return [
        f"the newest {name} is {(now_ns - seen_ns) // NS_PER_MS} ms old, at most {oldest_ns // NS_PER_MS} ms"
        for name, seen_ns, oldest_ns in newest
        if seen_ns >= 0 and now_ns - seen_ns > oldest_ns
    ]
