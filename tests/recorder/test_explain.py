"""An explanation names the plan, what it came from, how old that was, the limits touched, the mode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from dualsys.cli import main
from dualsys.clock import NS_PER_MS
from dualsys.errors import RecordingError
from dualsys.messages import LatentPacket
from dualsys.recorder.explain import explain, moment
from dualsys.recorder.records import ControlPlan, PlannerLatent, PlannerObservation
from dualsys.recorder.topics import Envelope

from .conftest import ListTap
from .test_control import PERIOD_NS, SESSION, Rig, run

Save = Callable[[list[Envelope]], Path]


def story() -> tuple[ListTap, Rig]:
    """Plan 1 is fast, plan 2 is refused, the latent grows old, an operator stops the arm."""
    tap, planner = ListTap(), ListTap("planner")
    rig = Rig(tap)
    rig.tick(count=10)
    shown_ns = rig.now_ns - 300 * NS_PER_MS
    planner.put(
        PlannerObservation(
            t_ns=shown_ns, seq=4, episode=0, instruction="pick the red block",
            shapes={"fixed": [6, 8, 3]}, sizes={"fixed": 144},
        )
    )  # fmt: skip
    planner.put(
        PlannerLatent(
            t_ns=rig.now_ns - 90 * NS_PER_MS, session=SESSION, episode=0, seq=1, observation_seq=4,
            t_capture_ns=shown_ns, instruction="pick the red block", compute_ns=7 * NS_PER_MS,
            weights="abc", kind="latent_sequence", tensors={}, text="a red block at 0.4 m",
            t_received_ns=-1, t_sent_ns=-1, refusal="",
        )
    )  # fmt: skip
    rig.plan(6.0, 0.0, 300, 480, "")
    rig.tick(count=40)
    rig.plan(0.0, 0.0, 300, 2000, "epoch")
    rig.tick(count=20)
    rig.ask("stop")
    rig.tick(count=150)
    tap.envelopes[5:5] = planner.envelopes
    return tap, rig


def at(path: Path, tick: int) -> str:
    """The explanation of a tick, told by its edge time."""
    begin_ns = 10_000_000_000
    return "\n".join(explain(path, f"{begin_ns + tick * PERIOD_NS}ns"))


def test_a_moving_arm_is_explained_by_plan_latent_observation_and_limits(save: Save) -> None:
    tap, _ = story()
    told = at(save(tap.envelopes), 20)
    assert "control tick 20, 0.0 ms before that moment" in told
    assert "mode RUNNING, for 36.0 ms: a fresh plan is being followed" in told
    assert "plan 1: taken 40.0 ms ago, 13 knots, 440.0 ms of it are left" in told
    assert "it took over 40.0 ms ago from the motion before it" in told
    assert "latent 1: of images 340.0 ms old" in told
    assert "computed in 7.0 ms by weights abc for “pick the red block”" in told
    assert "which says “a red block at 0.4 m”; it arrived 130.0 ms ago" in told
    assert "observation 4: 340.0 ms ago, episode 0, cameras: fixed 144 bytes" in told
    assert "limits: velocity and acceleration touched" in told
    assert "panda_joint1: the plan is" in told
    assert "per s away, at most" in told
    assert "reading of the arm: 0.0 ms old, the robot says ok" in told


def test_a_stopped_arm_is_explained_by_who_stopped_it(save: Save) -> None:
    tap, _ = story()
    told = at(save(tap.envelopes), 200)
    assert "nothing was commanded: the robot stops by its own means" in told
    assert "mode STOPPED" in told
    assert "an operator asked for a stop" in told
    assert "a plan was refused by control: plan.epoch: expected 0, got 1" in told
    assert "control was told stop (an operator asked for a stop): epoch 0" in told


def test_before_the_first_plan_there_is_none(save: Save) -> None:
    tap, _ = story()
    told = at(save(tap.envelopes), 5)
    assert "mode WAITING" in told
    assert "waiting for the first plan" in told
    assert "no plan is followed" in told


def test_it_is_told_whether_images_or_features_of_them_went_up(save: Save) -> None:
    tap, _ = story()
    assert "episode 0, cameras: fixed 144 bytes" in at(save(tap.envelopes), 20)
    for number, one in enumerate(tap.envelopes):
        if isinstance(one.record, PlannerObservation):
            shown = msgspec.structs.replace(one.record, shapes={"fixed": [12, 12]}, sizes={"fixed": 288})
            tap.envelopes[number] = msgspec.structs.replace(one, record=shown)
    assert "episode 0, features of cameras: fixed 288 bytes" in at(save(tap.envelopes), 20)


def test_what_is_missing_is_told(save: Save) -> None:
    tap, _ = story()
    kinds = (PlannerLatent, PlannerObservation)
    path = save([one for one in tap.envelopes if not isinstance(one.record, kinds)])
    assert "latent 1: of images 340.0 ms old" in at(path, 20)
    assert "its record is missing" in at(path, 20)
    path = save([one for one in tap.envelopes if not isinstance(one.record, ControlPlan)])
    assert "plan 1: taken 40.0 ms ago; its record is missing" in at(path, 20)


@pytest.mark.parametrize(("text", "expected"), [("2", 2_000_000_005), (".5s", 500_000_005), ("77ns", 77)])
def test_a_moment_is_told_in_seconds_from_the_start_or_in_edge_time(text: str, expected: int) -> None:
    assert moment(text, 5) == expected


@pytest.mark.parametrize("text", ["", "noon", "5 ms", "1.5ns", "1e3"])
def test_any_other_moment_is_refused(text: str) -> None:
    with pytest.raises(RecordingError, match=r"expected seconds such as 12\.5"):
        moment(text, 0)


@pytest.mark.parametrize(
    ("when", "why"), [("-1", "nothing was controlled yet"), ("60", "it was over by then")]
)
def test_a_moment_outside_of_the_recording_is_refused_with_what_it_covers(
    save: Save, when: str, why: str
) -> None:
    tap, _ = story()
    path = save(tap.envelopes)
    with pytest.raises(RecordingError, match=rf"{why}; the recording covers 0 to \d"):
        explain(path, when)


def test_the_commands_print_and_tell_by_their_exit_code(
    save: Save, capsys: pytest.CaptureFixture[str]
) -> None:
    tap = ListTap()
    run([("plan", 0.5, 0.0, 0, 640, ""), ("tick", "", 20)], tap)
    path = save(tap.envelopes)
    assert main(["record", "verify", str(path)]) == 0
    assert "intact: all" in capsys.readouterr().out
    assert main(["record", "explain", str(path.parent), "--at", "10.05"]) == 0
    assert "plan 1: taken" in capsys.readouterr().out
    assert main(["replay", str(path.parent)]) == 0
    assert "control: bit for bit the same: 21 ticks" in capsys.readouterr().out
    changed = bytearray(path.read_bytes())
    changed[-30] ^= 1
    path.write_bytes(changed)
    assert main(["record", "verify", str(path)]) == 1
    assert "broken at link" in capsys.readouterr().out
    assert main(["record", "explain", str(path)]) == 2
    assert "--at: has no value" in capsys.readouterr().err
    assert main(["replay", str(path.parent / "nothing")]) == 2
    assert "cannot be read: No such file" in capsys.readouterr().err
    empty = save([])
    assert main(["replay", str(empty)]) == 1
    assert "control: nothing was recorded" in capsys.readouterr().out


def test_the_head_of_a_latent_is_all_of_it_but_the_numbers() -> None:
    known = set(PlannerLatent.__struct_fields__) - {"t_ns", "refusal"}
    assert known == set(LatentPacket.__struct_fields__)
