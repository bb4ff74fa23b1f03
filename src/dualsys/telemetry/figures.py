"""The two pictures of a run: what the arm did over time, and what its camera saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.telemetry.extras import figure
from dualsys.telemetry.recording import Recording

MODE_COLOURS = {
    "WAITING": "#d9d9d9",
    "RUNNING": "#d5efd5",
    "SLOWED": "#fdebb0",
    "HOLDING": "#fbcf9b",
    "STOPPED": "#f4b6b6",
}
_WINDOW_S = 60.0
_STRIP_IMAGES = 10


def draw_timeline(recording: Recording) -> Path | None:
    """Draw `timeline.png`: joints (commanded and measured), ages, plan joins, modes. None without ticks.

    Of a long run the last minute is shown.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ticks = recording.ticks
    if not ticks:
        return None
    end_ns = ticks[-1]["t_ns"]
    start_ns = max(ticks[0]["t_ns"], end_ns - round(_WINDOW_S * NS_PER_S))
    shown = [tick for tick in ticks if tick["t_ns"] >= start_ns]
    drawn = figure(14.0, 9.0, "timeline.png")
    joints, ages, joins = drawn.subplots(3, 1, sharex=True, height_ratios=(4, 2, 2))
    times_s = _seconds([tick["t_ns"] for tick in shown], start_ns)
    _draw_joints(joints, times_s, shown)
    _draw_ages(ages, times_s, shown)
    _draw_joins(joins, [plan for plan in recording.plans if plan["t_ns"] >= start_ns], start_ns)
    for axes in (joints, ages, joins):
        _shade_modes(axes, times_s, [tick["mode"] for tick in shown])
        axes.margins(x=0)
    _mark_events(joints, recording, start_ns)
    joins.set_xlabel("time [s]")
    from_s = (start_ns - ticks[0]["t_ns"]) / NS_PER_S
    drawn.suptitle(f"{recording.path.name}, from second {from_s:.0f} of the run", y=0.99)
    drawn.tight_layout()
    target = recording.path / "timeline.png"
    drawn.savefig(target)
    return target


def draw_filmstrip(recording: Recording, camera: str = "fixed") -> Path | None:
    """Draw `filmstrip.png`: one row for each of the last three episodes. None if no images were recorded.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    rows: list[tuple[str, list[tuple[float, NDArray[np.uint8]]]]] = []
    for start_ns, end_ns, event in recording.episode_spans()[-3:]:
        inside = [
            entry for entry in recording.frames if entry.camera == camera and start_ns <= entry.t_ns <= end_ns
        ]
        if inside:
            picks = np.linspace(0, len(inside) - 1, min(_STRIP_IMAGES, len(inside))).round().astype(int)
            images = [((inside[i].t_ns - start_ns) / NS_PER_S, recording.image(inside[i])) for i in picks]
            rows.append((f"episode {event['episode']}: {event['instruction']}", images))
    if not rows:
        return None
    drawn = figure(1.7 * _STRIP_IMAGES, 1.75 * len(rows), "filmstrip.png")
    grid = drawn.subplots(len(rows), _STRIP_IMAGES, squeeze=False)
    for (title, images), axes_row in zip(rows, grid, strict=True):
        for axes in axes_row:
            axes.axis("off")
        for axes, (time_s, image) in zip(axes_row, images, strict=False):
            axes.imshow(image)
            axes.set_title(f"{time_s:.1f} s", fontsize=8, pad=2)
        axes_row[0].text(0, -0.04, title, transform=axes_row[0].transAxes, fontsize=9, va="top")
    drawn.subplots_adjust(left=0.005, right=0.995, top=0.93, bottom=0.09, wspace=0.03, hspace=0.3)
    target = recording.path / "filmstrip.png"
    drawn.savefig(target)
    return target


def _seconds(stamps_ns: list[int], start_ns: int) -> NDArray[np.float64]:
    return (np.asarray(stamps_ns, np.int64) - start_ns) / NS_PER_S


def _draw_joints(axes: Any, times_s: NDArray[np.float64], ticks: list[dict[str, Any]]) -> None:
    measured = np.asarray([tick["position"] for tick in ticks])
    command = np.asarray([tick["command"] or [np.nan] * measured.shape[1] for tick in ticks])
    for joint in range(measured.shape[1] - 1):
        (line,) = axes.plot(times_s, measured[:, joint], linewidth=1.2, label=f"joint {joint + 1}")
        axes.plot(times_s, command[:, joint], linewidth=0.8, linestyle="--", color=line.get_color())
    axes.set_ylabel("joints [rad]\nsolid measured, dashed commanded")
    axes.legend(loc="upper right", ncols=4, fontsize=7)
    gripper = axes.twinx()
    gripper.plot(times_s, measured[:, -1] * 1000, color="black", linewidth=1.0, alpha=0.6)
    gripper.set_ylabel("gripper opening [mm]")
    gripper.margins(x=0)


def _draw_ages(axes: Any, times_s: NDArray[np.float64], ticks: list[dict[str, Any]]) -> None:
    for key, label in (("latent_age_ns", "latent"), ("plan_age_ns", "plan")):
        ages_ms = (
            np.asarray([tick[key] if tick[key] >= 0 else np.nan for tick in ticks], np.float64) / NS_PER_MS
        )
        axes.plot(times_s, ages_ms, linewidth=1.0, label=label)
    axes.set_ylabel("age [ms]")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right", fontsize=7)


def _draw_joins(axes: Any, plans: list[dict[str, Any]], start_ns: int) -> None:
    times_s = _seconds([plan["splice_ns"] for plan in plans], start_ns)
    jumps = [np.nan if plan["join_rad_s"] is None else plan["join_rad_s"] for plan in plans]
    axes.plot(
        times_s, jumps, linestyle="none", marker=".", markersize=3, color="tab:purple", label="speed jump"
    )
    axes.set_ylabel("plan joins:\nspeed jump [rad/s]")
    axes.set_ylim(bottom=0)
    delay = axes.twinx()
    delay.plot(times_s, [plan["delay_ns"] / NS_PER_MS for plan in plans], color="tab:gray", linewidth=0.8)
    delay.set_ylabel("plan delay [ms]")
    delay.set_ylim(bottom=0)
    delay.margins(x=0)


def _shade_modes(axes: Any, times_s: NDArray[np.float64], modes: list[str]) -> None:
    begin = 0
    for index in range(1, len(modes) + 1):
        if index == len(modes) or modes[index] != modes[begin]:
            last = min(index, len(modes) - 1)
            colour = MODE_COLOURS.get(modes[begin], "#ffffff")
            axes.axvspan(times_s[begin], times_s[last], color=colour, linewidth=0, zorder=0)
            begin = index


def _mark_events(axes: Any, recording: Recording, start_ns: int) -> None:
    words = {"episode": "instruction", "verdict": "result", "instruction": "instruction"}
    for event in recording.events:
        if event["t_ns"] < start_ns or event["kind"] not in words:
            continue
        time_s = (event["t_ns"] - start_ns) / NS_PER_S
        axes.axvline(time_s, color="black", linewidth=0.8, linestyle=":")
        label = f" {event['kind']}: {event.get(words[event['kind']], '')}"
        # An episode begins right after the verdict on the one before: their words must not overlap.
        ending = event["kind"] == "verdict"
        axes.text(
            time_s,
            0.01 if ending else 1.01,
            f"{label} " if ending else label,
            transform=axes.get_xaxis_transform(),
            fontsize=7,
            rotation=90 if ending else 12,
            ha="right" if ending else "left",
            va="bottom",
        )
