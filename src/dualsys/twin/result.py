"""How one episode of the twin went, in a form that is written to a file line by line and read back."""

from __future__ import annotations

import msgspec


class EpisodeResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One episode.

    Attributes:
        task, seed, phrasing, event, min_blocks: What was run, as `make_episode` was told; `event` is `moved`,
            `changed`, `absent` or None.
        instruction: The first words.
        success: Whether the task was done in time; with the latent of other words, whether those were obeyed.
        reason: Why it ended, in the words of the judge; and before them why control stopped, if it did.
        duration_s: Simulated time of the whole episode.
        time_to_success_s: From the event (a moved object, new words), or else from the start, to success;
            None without success, and where the event came too late to matter.
        metrics: Named measurements, units in the names.
        counters: Named totals of control, planner and System 2.
        trace_sha256: Digest of every command and event.
    """

    task: str
    seed: int
    phrasing: str
    event: str | None
    min_blocks: int
    instruction: str
    success: bool
    reason: str
    duration_s: float
    time_to_success_s: float | None
    metrics: dict[str, float | str]
    counters: dict[str, int]
    trace_sha256: str
