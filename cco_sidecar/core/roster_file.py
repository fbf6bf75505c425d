"""The roster file's shape, and what is said of a text that does not have it.

`roster` turns a `RosterFile` into a `Roster`; what needs more than its shape to be judged is judged there.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

import msgspec

from cco_sidecar.core import identifiers
from cco_sidecar.core.workflows.definition import MOST_RULES, Rule, Trigger

MOST_TYPES = 1000
MOST_BYTES = 8 * 1024 * 1024

_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Phrase = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Words = Annotated[tuple[_Word, ...], msgspec.Meta(max_length=64)]
_Phrases = Annotated[tuple[_Phrase, ...], msgspec.Meta(max_length=64)]
_Quantity = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class PlacedError(Exception):
    """Something in the file is wrong: where, as a JSON path, and what would be right."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason


class ContextWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a type wants to be told of a project.

    ``languages`` (lower case; empty: any) are those whose source it wants; ``include`` and ``exclude`` are globs
    relative to the project's root, wanted and unwanted whatever their language; ``prefer`` are `KINDS`, best first.
    ``pinned`` are files that come before all others; ``sources`` are files and directories that come before what the
    type prefers; both are paths relative to the root, and no globs.
    """

    languages: _Words = ()
    include: _Phrases = ()
    exclude: _Phrases = ()
    prefer: _Words = ()
    pinned: _Phrases = ()
    sources: _Phrases = ()


class BucketEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A type's own token bucket, as it is written."""

    per_minute: _Quantity
    burst: _Quantity


class AgentEntry(msgspec.Struct, forbid_unknown_fields=True):
    """An agent type as it is written; what is None takes its default from elsewhere."""

    type: _Word
    name: _Word | None = None
    model: str = "sonnet"
    role: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    capabilities: _Phrases = ()
    context: ContextWish = ContextWish()
    publishes: _Words = ()
    subscribes: _Words = ()
    topics: _Words | None = None
    permissions: _Words | None = None
    rate_limit: BucketEntry | None = None


class WorkflowEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A workflow as it is written."""

    name: _Word
    rules: Annotated[tuple[Rule, ...], msgspec.Meta(min_length=1, max_length=MOST_RULES)]
    title: Annotated[str, msgspec.Meta(max_length=256)] = ""


_List = Annotated[tuple[AgentEntry, ...], msgspec.Meta(max_length=MOST_TYPES)]


class RosterFile(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The file as it is written: a member for each category, in the order of `CATEGORIES`, and the workflows."""

    architect: AgentEntry | None = None
    coding_agents: _List = ()
    integration_agents: _List = ()
    development_agents: _List = ()
    data_agents: _List = ()
    infrastructure_agents: _List = ()
    security_agents: _List = ()
    ai_ml_agents: _List = ()
    mcp_agents: _List = ()
    documentation_agents: _List = ()
    research_agents: _List = ()
    business_agents: _List = ()
    support_agents: _List = ()
    workflows: Annotated[tuple[WorkflowEntry, ...], msgspec.Meta(max_length=64)] = ()

    def agents(self) -> Iterator[tuple[str, str, AgentEntry]]:
        """Give each entry with its JSON path and its category."""
        if self.architect is not None:
            yield "$.architect", "architect", self.architect
        for attribute, key in zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True):
            if key.endswith("Agents"):
                for index, agent in enumerate(getattr(self, attribute)):
                    yield f"$.{key}[{index}]", key.removesuffix("Agents"), agent


_SHAPES: Mapping[str, type[msgspec.Struct]] = {
    "$": RosterFile,
    "context": ContextWish,
    "rate_limit": BucketEntry,
    "workflows": WorkflowEntry,
    "rules": Rule,
    "on": Trigger,
}
"""What stands below a key; below any other it is an `AgentEntry`."""

_PLACED = re.compile(r"(.*?)(?: - at `(\$(?:\.\w+|\[\d+\])*)`)?", re.DOTALL)
_LAST_KEY = re.compile(r"(\$|\w+)(?:\[\d+\])?")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_BYTE = re.compile(r"\(byte (\d+)\)")


def decode(text: bytes) -> RosterFile:
    """Read the text of a roster file.

    :raises PlacedError: it is not JSON, or not of this shape.
    """
    if len(text) > MOST_BYTES:
        raise PlacedError("$", f"it has {len(text)} bytes, and {MOST_BYTES} is the most")
    try:
        return msgspec.json.decode(text, type=RosterFile)
    except msgspec.ValidationError as error:
        raise _wrong_shape(str(error)) from None
    except UnicodeDecodeError:
        raise PlacedError("$", "it is not UTF-8 text") from None
    except msgspec.DecodeError as error:
        slip = _BYTE.sub(lambda at: _place(text, int(at[1])), str(error))
        raise PlacedError("$", f"it is not JSON: {slip}") from None


def _place(text: bytes, offset: int) -> str:
    line = text.count(b"\n", 0, offset) + 1
    column = offset - text.rfind(b"\n", 0, offset)
    return f"(line {line}, column {column})"


def _wrong_shape(message: str) -> PlacedError:
    """Say in our words what msgspec found."""
    found = _PLACED.fullmatch(message)
    what, path = (found[1], found[2] or "$") if found else (message, "$")
    missing = _MISSING.fullmatch(what)
    if missing:
        return PlacedError(f"{path}.{missing[1]}", "it is missing, and must be there")
    unknown = _UNKNOWN.fullmatch(what)
    if unknown is None:
        return PlacedError(path, what[:1].lower() + what[1:])
    key = _LAST_KEY.fullmatch(path.rpartition(".")[2])
    shape = _SHAPES.get(key[1] if key else "", AgentEntry)
    return PlacedError(path, f"unknown key {not_known(unknown[1], shape.__struct_encode_fields__)}")


def not_known(word: str, known: Iterable[str]) -> str:
    """Say that ``word`` is none of the known ones, and which was probably meant."""
    near = identifiers.nearest(word[:128], known)
    advice = f"did you mean '{near}'?" if near else f"known are {', '.join(sorted(known)[:24])}"
    return f"{word[:128]!r}: {advice}"
