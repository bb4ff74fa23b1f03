"""`python -m dualsys.bench plan-delays`: plan durations of a recorded run, a file for the twin.

A duration counts from the moment at which a plan job read its inputs to the moment at which its chunk was
there, whatever the process waited for in between. Jobs for which System 1 was not asked, because there was
nothing to do, do not count.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import tyro

from dualsys.clock import NS_PER_MS
from dualsys.command_line import read
from dualsys.errors import ConfigError, DualsysError
from dualsys.recorder.extra import FILE_NAME, require_mcap
from dualsys.recorder.records import PlannerBegin, PlannerChunk, PlannerJob, PlannerLatent, Record
from dualsys.twin.latency import SampleFile
from dualsys.twin.report import versions

MOST = 400
"""So many samples tell a distribution; of more, evenly spaced quantiles are kept."""
DIGITS = 2


@dataclass(frozen=True)
class Options:
    """Make a file of plan durations of a recorded run, for --system1-delay and --system1-jitter."""

    recording: tyro.conf.Positional[Path]
    """The recording, or the run folder that it lies in."""
    output: Path
    """The .json file to write."""
    about: str = ""
    """Where it comes from, such as what else the machine did; it is kept in the file."""
    most: int = MOST
    """Keep at most so many samples, evenly spaced quantiles of all."""


def main(arguments: Sequence[str]) -> int:
    """Read a recording and write the file.

    Returns:
        Exit code: 0, or 2 after a fault that was printed.
    """
    options = read(Options, arguments, prog="python -m dualsys.bench plan-delays")
    try:
        print(write(options))
    except DualsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def write(options: Options) -> Path:
    """Write the durations of a recording; returns the path of the file.

    Raises:
        ConfigError: No plan was made in it, or an option is not allowed.
        MissingExtraError: The MCAP library is not installed.
        RecordingError: The recording cannot be read.
    """
    require_mcap("reading a recording")
    from dualsys.recorder.chain import verify
    from dualsys.recorder.reading import RecordingReader

    if options.most < 1:
        raise ConfigError("bench", [f"most: expected at least 1, got {options.most}"])
    path = options.recording
    path = path / FILE_NAME if path.is_dir() else path
    records = [entry.record for entry in RecordingReader(path)]
    samples_ns = durations_ns(records)
    if not samples_ns:
        raise ConfigError(
            "bench", [f"{path}: no plan was computed in it; record a run in which the arm moves"]
        )
    begun = next((one for one in records if isinstance(one, PlannerBegin)), None)
    made_by = "" if begun is None else f"strategy {begun.strategy}, System 1 with weights {begun.weights}, "
    if begun is not None and begun.weak_weights:
        made_by += f"a weak policy with weights {begun.weak_weights}, "
    known = versions()
    about = (
        f"{options.about or 'A recorded run'}. {len(samples_ns)} plans of a run with {made_by}"
        f"onnxruntime {known['onnxruntime']} on {known['machine']}; recording with hash {verify(path).head}."
    )
    file = SampleFile(unit="ms", samples=thinned_ms(samples_ns, options.most), about=about)
    options.output.write_bytes(msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n")
    return options.output


def durations_ns(records: Iterable[Record]) -> list[int]:
    """Duration of every plan that System 1 computed, ns, in their order.

    Left out are jobs whose latent said that there is nothing to do: most of them hold the arm still, or lead
    it back to look again, without asking System 1.
    """
    begun: PlannerJob | None = None
    acts: dict[int, bool] = {}
    found: list[int] = []
    for record in records:
        if isinstance(record, PlannerLatent) and not record.refusal:
            acts[record.seq] = record.act
        elif isinstance(record, PlannerJob) and record.number >= 0:
            begun = record
        elif isinstance(record, PlannerChunk) and begun is not None:
            same = (begun.episode, begun.number) == (record.episode, record.number)
            if same and not record.failed and acts.get(begun.latent_seq, False):
                found.append(record.t_ns - begun.t_ns)
            begun = None
    return found


def thinned_ms(samples_ns: Sequence[int], most: int) -> list[float]:
    """At most so many evenly spaced quantiles of the samples, ms, ascending."""
    ordered = np.sort(np.asarray(samples_ns)) / NS_PER_MS
    if len(ordered) > most:
        ordered = ordered[((np.arange(most) + 0.5) / most * len(ordered)).astype(int)]
    return [round(float(one), DIGITS) for one in ordered]
