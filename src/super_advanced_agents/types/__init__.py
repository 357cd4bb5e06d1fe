"""Data classes that all modules share, such as records, memories and search results.

Code that validates, stores or searches them belongs in the layers above.
"""

from super_advanced_agents.types.answers import Answer, AnswerEvent
from super_advanced_agents.types.jobs import JobInfo, JobState, ScheduleInfo, UploadInfo
from super_advanced_agents.types.matches import (
    ExplainedMatch,
    Explanation,
    Match,
    Signal,
    Weights,
    parsed_metadata,
)
from super_advanced_agents.types.values import (
    AgentInfo,
    ChatMessage,
    CollectionInfo,
    Dedupe,
    JSONValue,
    Matrix,
    Memory,
    Metadata,
    Record,
    Relocation,
    Turn,
    Vector,
    Where,
)

__all__ = [
    "AgentInfo",
    "Answer",
    "AnswerEvent",
    "ChatMessage",
    "CollectionInfo",
    "Dedupe",
    "ExplainedMatch",
    "Explanation",
    "JSONValue",
    "JobInfo",
    "JobState",
    "Match",
    "Matrix",
    "Memory",
    "Metadata",
    "Record",
    "Relocation",
    "ScheduleInfo",
    "Signal",
    "Turn",
    "UploadInfo",
    "Vector",
    "Weights",
    "Where",
    "parsed_metadata",
]
