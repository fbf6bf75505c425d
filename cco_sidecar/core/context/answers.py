"""The JSON answer read again, as far as other forms of it are made from it; unknown members are passed over."""

from collections.abc import Mapping
from typing import Any

import msgspec


class Output(msgspec.Struct, frozen=True):
    """What an earlier agent reported."""

    agent: str
    agent_type: str
    timestamp: str
    status: str
    decisions: list[Any]
    files_affected: list[str]


class Structure(msgspec.Struct, frozen=True):
    """The tree."""

    root: str
    directories: list[str]
    total_files: int
    total_size_bytes: int


class Sections(msgspec.Struct, frozen=True):
    """The sections of an answer."""

    project_structure: Structure
    previous_agent_outputs: list[Output]
    metadata: Mapping[str, Any]


class LeftOut(msgspec.Struct, frozen=True):
    """A file that did not go in, and why."""

    path: str
    size: int
    why: str


class Answer(msgspec.Struct, frozen=True):
    """An answer."""

    issue_id: str
    agent_type: str
    context: Sections
    omitted: list[LeftOut]
    omitted_count: int
