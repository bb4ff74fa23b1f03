"""The kinds of records there are, where each lies in the file, and how they travel to the recorder."""

from __future__ import annotations

from typing import Final

from dualsys.messages import Message
from dualsys.recorder.records import (
    ControlBegin,
    ControlPlan,
    ControlRequest,
    ControlTick,
    Event,
    Lost,
    ModeChange,
    PlannerBegin,
    PlannerCall,
    PlannerChunk,
    PlannerDemand,
    PlannerFrame,
    PlannerJob,
    PlannerLatent,
    PlannerObservation,
    PlannerRate,
    PlannerRepeat,
    PlannerState,
    Question,
    Record,
    RecorderEnd,
    Rejected,
)

AnyRecord = (
    ControlBegin
    | ControlTick
    | ControlPlan
    | ControlRequest
    | ModeChange
    | Question
    | Rejected
    | PlannerBegin
    | PlannerCall
    | PlannerState
    | PlannerFrame
    | PlannerObservation
    | PlannerRate
    | PlannerDemand
    | PlannerLatent
    | PlannerJob
    | PlannerChunk
    | PlannerRepeat
    | Event
    | Lost
    | RecorderEnd
)

TOPICS: Final[dict[type[Record], str]] = {
    ControlBegin: "/control/begin",
    ControlTick: "/control/tick",
    ControlPlan: "/control/plan",
    ControlRequest: "/control/request",
    ModeChange: "/control/mode",
    Question: "/questions",
    Rejected: "/rejected",
    PlannerBegin: "/planner/begin",
    PlannerCall: "/planner/call",
    PlannerState: "/planner/state",
    PlannerFrame: "/planner/frame",
    PlannerObservation: "/planner/observation",
    PlannerRate: "/planner/rate",
    PlannerDemand: "/planner/demand",
    PlannerLatent: "/planner/latent",
    PlannerJob: "/planner/job",
    PlannerChunk: "/planner/chunk",
    PlannerRepeat: "/planner/repeat",
    Event: "/events",
    Lost: "/recorder/lost",
    RecorderEnd: "/recorder/end",
}
"""Where each kind of record lies in the file."""


class Envelope(Message, frozen=True, tag="record"):
    """A record on its way to the recorder.

    Attributes:
        source: The process that took it.
        number: Counts the records that the process took, those that could not be sent included.
    """

    source: str
    number: int
    record: AnyRecord
