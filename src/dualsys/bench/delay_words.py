"""What the page of the latency benchmark says in every run: its words, and what its columns mean."""

from __future__ import annotations

INTRODUCTION = (
    "A robot does not wait for its policy: while System 1 (the fast one) computes the next chunk of "
    "actions, the arm keeps executing the one before, and while System 2 (the slow one) reads an image, "
    "the scene changes. This page says what that costs, and how much of it each chunk strategy gets back. "
    "Everything runs in the twin: one process, a virtual clock, and a world that moves on during every "
    "inference for exactly as long as the injected delay says.",
    "The delay of System 1, L, is the time from the moment that a plan job reads its inputs to the moment "
    "that its chunk is there. The delay of System 2 is the time from the capture of an image to the "
    "arrival of its latent next to the arm. All strategies get the same delay, the same scenes and the "
    "same weights. They do not need the same computing time, however (see the last column under *How each "
    "strategy is run*): what needs more evaluations of the network has to be read at a longer delay.",
)
STATIC = (
    "**Static tasks saturate in success.** What a chunk says of a block that does not move stays true while "
    "the chunk is late, so `pick` is here to show smoothness and time to success: those are the results to "
    "read for it. Success itself is at stake where the scene moves (`conveyor`, `intercept`, `follow`) and "
    "where there are two good ways whose mean is a bad one (`around`: left or right past a wall)."
)
RECORDED_TEXT = (
    "recorded live and not scaled, on a machine that other programs kept busy (`plan_delays.json` in the "
    "package says how), "
)
BARS_TEXT = (
    "What real-time chunking was to reach was written down before it was measured. Smoothness is compared by "
    "medians over the episodes of a cell. One strategy beats another by more than the intervals if the lower "
    "end of its Wilson 95 % interval lies above the upper end of the other's; of the baselines, the one with "
    "the highest upper end is named. Behind what was found of smoothness stands what the `experts` have "
    "there, whom System 1 has learnt from: they know what there is to know, though late, and do not "
    "hesitate, so what is left of their accelerations and of their velocity jumps is the motion that the "
    "task takes. Where that is above a half, nobody who moves as he was shown comes down to a half."
)
SMOOTHNESS_TEXT = (
    "At a join, the plan in force is replaced by a newer one. A strategy that ignores what is being "
    "executed may change its mind there. Plans are made of displacements that are added up from where the "
    "arm is led, so what jumps is the velocity and not the position; a gap in position (see *All cells*) is "
    "left only where control could not keep up with a plan and the next one starts from where the arm is. "
    "Where a delay is no whole number of actions (300 ms is 7.5), the join lies within an action that "
    "strategies which continue the motion have kept: their jump is then small whatever they do next, and "
    "what changes at the end of that action is seen by acceleration and jerk alone. "
    "*Old and new plan apart* is the distance between where the two plans lead the tool 200 ms after the "
    "join. Acceleration and jerk are those of the commanded tool, over steps of 40 ms. A tick *without a "
    "plan* is one at which the plan is over and the arm brakes to rest."
)
REACTION_TEXT = (
    "Reaction time is the time from an event to the first plan in force that has seen it. An event at a "
    "random time meets a reaction that is uniform on (L, L + s dt) where inference runs back to back, one "
    "job every s actions of dt = {dt:g} ms, and on (L, 2 L + E) where the arm plays a chunk for a time E "
    "and then waits (FASTER, arXiv:2603.19199). The prediction is the mean of that, L + T / 2 with T the "
    "time between the starts of two jobs, taken over time where L and T vary. A plan counts as having seen "
    "an event only if its wrist image was taken after it, and there is one every {frame:g} ms; so where "
    "jobs do not begin with a new image, the measured mean lies above the prediction by the age of the "
    "image. What only the fixed camera can see takes the way through System 2, whose delay and period come "
    "on top. *To events*, in the table of all cells, are the reactions to what really happened: a belt that "
    "changed its speed, a block that was given a push."
)
SYSTEM2_TEXT = (
    "System 1 takes {delay} ms for a plan here, System 2 starts {rate:g} times a second. The age in force "
    "is how old the image behind the latent is, at the moment when the arm acts on it. Control does not "
    "slow down for these ages in this benchmark, so that the policy alone is measured."
)
COLUMNS = (
    ("success", "episodes in which the task was done in time, with the Wilson 95 % interval"),
    ("a minute", "successes per minute of simulated time, the time of failures included"),
    ("time", "median time to success, of the successes alone"),
    ("jump", "change of the commanded tool velocity at a join: mean over the joins of an episode"),
    ("gap", "largest distance between the set-points of two plans at their join; of a plan that was over, "
     "from where the arm was led"),
    ("apart", "distance between the old and the new plan 200 ms after a join: mean over the joins"),
    ("acceleration, jerk", "root mean square over the commanded tool motion"),
    ("no plan", "ticks at which the plan was over and no other had come"),
    ("reaction 1, reaction 2", "mean time from a random moment to the first plan in force that has seen it, "
     "through the wrist camera and through System 2"),
    ("predicted", "what the first of these would be if every job saw the present when it begins"),
    ("to events", "the same two for what happened in the episode; a dash where nothing did"),
    ("latent age", "how old the image behind the latent is while the arm acts on it"),
    ("stops", "episodes in which control stopped the arm for a fault, such as one that does not follow"),
    ("late", "chunks that came later than the strategy had planned for"),
)  # fmt: skip
MEASURES = (
    "success", "a minute", "time", "jump, m/s", "gap, mm", "apart, mm", "acceleration, m/s²", "jerk, m/s³",
    "no plan", "stops",
    "reaction 1, ms", "predicted, ms", "reaction 2, ms", "to events, ms", "latent age, ms", "late",
)  # fmt: skip
