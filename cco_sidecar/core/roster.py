"""The roster: which agent types there are, and what each may do and wants to know (contract sections 1, 3, 9)."""

import re
import string
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from attrs import frozen

from cco_sidecar.core import identifiers
from cco_sidecar.core.context.wishes import path_refusal, pattern_refusal
from cco_sidecar.core.events.filter_parser import parse_filter
from cco_sidecar.core.limits import RateLimit
from cco_sidecar.core.roster_file import MOST_TYPES, AgentEntry, ContextWish, PlacedError, RosterFile, decode, not_known
from cco_sidecar.core.workflows.checks import endless, misspelt
from cco_sidecar.core.workflows.definition import PLACEHOLDERS, PRIORITIES, Rule, Workflow
from cco_sidecar.errors import InvalidFilter, InvalidParameter, UnknownAgentType

__all__ = [
    "ALL_PERMISSIONS",
    "CATEGORIES",
    "DEFAULT_LIMITS",
    "DEFAULT_PERMISSIONS",
    "KINDS",
    "MODELS",
    "PUBLISH_EVENTS",
    "READ_CONTEXT",
    "SPAWN_AGENTS",
    "WRITE_RESULTS",
    "AgentType",
    "ContextWish",
    "Roster",
    "RosterError",
    "parse_roster",
]

READ_CONTEXT = "read_context"
WRITE_RESULTS = "write_results"
PUBLISH_EVENTS = "publish_events"
SPAWN_AGENTS = "spawn_agents"
ALL_PERMISSIONS = frozenset({READ_CONTEXT, WRITE_RESULTS, PUBLISH_EVENTS, SPAWN_AGENTS})

_WORKERS = ("coding", "integration", "development", "data", "infrastructure", "security", "aiMl", "mcp")
_WRITERS = ("documentation", "research", "business", "support")
CATEGORIES = ("architect", *_WORKERS, *_WRITERS)

DEFAULT_LIMITS: Mapping[str, RateLimit | None] = MappingProxyType(
    {"architect": None}
    | dict.fromkeys(_WORKERS, RateLimit(per_minute=300, burst=60))
    | dict.fromkeys(_WRITERS, RateLimit(per_minute=120, burst=30))
)
"""Each category's token bucket; None is unlimited."""

DEFAULT_PERMISSIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    dict.fromkeys(CATEGORIES, ALL_PERMISSIONS - {SPAWN_AGENTS}) | {"architect": ALL_PERMISSIONS}
)

MODELS = ("opus", "sonnet", "haiku")
KINDS = frozenset({
    *("source", "tests", "docs", "config", "manifests", "ci"),
    *("schemas", "styles", "infrastructure", "scripts", "notebooks"),
})  # fmt: skip
"""The kinds of file that a `ContextWish` may prefer."""


class RosterError(Exception):
    """The roster file is wrong; the message is one line: the source, the JSON path, and what would be right."""


@frozen
class AgentType:
    """An entry of the roster, with the defaults of its category filled in.

    ``publishes`` and ``subscribes`` describe; ``topics`` binds (None: it may publish on any topic).
    ``rate_limit`` None is unlimited.
    """

    type: str
    name: str
    category: str
    model: str
    role: str
    capabilities: tuple[str, ...]
    context: ContextWish
    publishes: tuple[str, ...]
    subscribes: tuple[str, ...]
    topics: frozenset[str] | None
    permissions: frozenset[str]
    rate_limit: RateLimit | None


@frozen
class Roster:
    """All agent types, and the workflows that join them, each by name."""

    types: Mapping[str, AgentType]
    workflows: Mapping[str, Workflow]

    def get(self, agent_type: str) -> AgentType:
        """Give the type of that name.

        :raises InvalidParameter: it cannot be the name of one.
        :raises UnknownAgentType: there is none; ``details["nearest"]`` is the one probably meant, or None.
        """
        found = self.types.get(identifiers.identifier(agent_type, "agent_type"))
        if found is not None:
            return found
        nearest = identifiers.nearest(agent_type, self.types)
        advice = f"did you mean '{nearest}'?" if nearest else "the roster file lists those there are."
        raise UnknownAgentType(
            f"There is no agent type '{agent_type}': {advice}", agent_type=agent_type, nearest=nearest
        )


def parse_roster(
    text: bytes, *, source: str, limits: Mapping[str, RateLimit] | None = None, limited: bool = True
) -> Roster:
    """Read a roster file.

    :param source: what to call the file in a message.
    :param limits: token buckets by category, in place of `DEFAULT_LIMITS`; a type's own ``rate_limit`` beats them.
    :param limited: whether there are rate limits at all.
    :raises RosterError: the text is no roster.
    """
    buckets: Mapping[str, RateLimit | None] = {**DEFAULT_LIMITS, **(limits or {})}
    try:
        file = decode(text)
        types = _types(file, buckets if limited else None)
        workflows = _workflows(file, types)
    except PlacedError as wrong:
        raise RosterError(_one_line(f"{source}: {wrong.path}: {wrong.reason}")) from None
    return Roster(MappingProxyType(types), MappingProxyType(workflows))


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in " ".join(text.split()))


def _types(file: RosterFile, buckets: Mapping[str, RateLimit | None] | None) -> dict[str, AgentType]:
    types: dict[str, AgentType] = {}
    places: dict[str, str] = {}
    for path, category, entry in file.agents():
        if entry.type in places:
            raise PlacedError(f"{path}.type", f"'{entry.type}' is already at {places[entry.type]}; a type stands once")
        places[entry.type] = path
        types[entry.type] = _agent_type(entry, path, category, buckets)
    if not types:
        raise PlacedError("$", 'there is no agent type in it; write one, as {"codingAgents": [{"type": "my-agent"}]}')
    if len(types) > MOST_TYPES:
        raise PlacedError("$", f"there are {len(types)} agent types in it, and {MOST_TYPES} is the most")
    return types


def _agent_type(
    entry: AgentEntry, path: str, category: str, buckets: Mapping[str, RateLimit | None] | None
) -> AgentType:
    _check_entry(entry, path)
    own = entry.rate_limit
    bucket = RateLimit(own.per_minute, own.burst) if own else (buckets or {}).get(category)
    permissions = DEFAULT_PERMISSIONS[category] if entry.permissions is None else frozenset(entry.permissions)
    return AgentType(
        type=entry.type,
        name=entry.name or re.sub(r"[._-]+", " ", entry.type).title().strip(),
        category=category,
        model=entry.model,
        role=entry.role,
        capabilities=entry.capabilities,
        context=entry.context,
        publishes=entry.publishes,
        subscribes=entry.subscribes,
        topics=None if entry.topics is None else frozenset(entry.topics),
        permissions=permissions,
        rate_limit=bucket if buckets is not None else None,
    )


def _check_entry(entry: AgentEntry, path: str) -> None:
    _check_identifier(entry.type, f"{path}.type", "an agent type")
    _check_known(entry.model, MODELS, f"{path}.model")
    for at, topic in _each(entry.topics, f"{path}.topics"):
        _check_identifier(topic, at, "a topic")
    for at, permission in _each(entry.permissions, f"{path}.permissions"):
        _check_known(permission, ALL_PERMISSIONS, at)
    for at, event in (*_each(entry.publishes, f"{path}.publishes"), *_each(entry.subscribes, f"{path}.subscribes")):
        _check_event_type(event, at)
    _check_wish(entry.context, f"{path}.context")


def _check_wish(wish: ContextWish, path: str) -> None:
    for at, kind in _each(wish.prefer, f"{path}.prefer"):
        _check_known(kind, KINDS, at)
    for at, language in _each(wish.languages, f"{path}.languages"):
        if language != language.lower():
            raise PlacedError(at, f"write languages in lower case: '{language.lower()}'")
    for at, pattern in (*_each(wish.include, f"{path}.include"), *_each(wish.exclude, f"{path}.exclude")):
        _check(pattern_refusal(pattern), at)
    for at, named in (*_each(wish.pinned, f"{path}.pinned"), *_each(wish.sources, f"{path}.sources")):
        _check(path_refusal(named), at)


def _check(refusal: str, path: str) -> None:
    if refusal:
        raise PlacedError(path, refusal)


def _each(words: tuple[str, ...] | None, path: str) -> Iterator[tuple[str, str]]:
    return ((f"{path}[{index}]", word) for index, word in enumerate(words or ()))


def _check_identifier(text: str, path: str, what: str) -> None:
    try:
        identifiers.identifier(text, what)
    except InvalidParameter as refused:
        raise PlacedError(path, refused.message) from None


def _check_event_type(text: str, path: str) -> None:
    try:
        identifiers.event_type(text)
    except InvalidParameter as refused:
        raise PlacedError(path, refused.message) from None


def _check_known(word: str, known: Collection[str], path: str) -> None:
    if word not in known:
        raise PlacedError(path, not_known(word, known))


def _workflows(file: RosterFile, types: Mapping[str, AgentType]) -> dict[str, Workflow]:
    publishes = MappingProxyType({name: agent_type.publishes for name, agent_type in types.items()})
    workflows: dict[str, Workflow] = {}
    for index, entry in enumerate(file.workflows):
        path = f"$.workflows[{index}]"
        _check_identifier(entry.name, f"{path}.name", "a workflow's name")
        if entry.name in workflows:
            raise PlacedError(f"{path}.name", f"there is a workflow '{entry.name}' already; a name stands once")
        names: set[str] = set()
        for number, rule in enumerate(entry.rules):
            _check_rule(rule, f"{path}.rules[{number}]", types)
            if rule.name in names:
                raise PlacedError(f"{path}.rules[{number}].name", f"there is a rule '{rule.name}' already")
            names.add(rule.name)
        _check_together(entry.rules, f"{path}.rules", publishes)
        workflows[entry.name] = Workflow(entry.name, entry.title or entry.name, entry.rules, publishes)
    return workflows


def _check_together(rules: tuple[Rule, ...], path: str, publishes: Mapping[str, tuple[str, ...]]) -> None:
    for number, rule in enumerate(rules):
        for place, event, near in misspelt(rule, publishes):
            meant = f"nobody publishes '{event}': did you mean '{near}'?"
            raise PlacedError(f"{path}[{number}].on.types[{place}]", meant)
    circle = endless(rules, publishes)
    if circle:
        number = next(number for number, rule in enumerate(rules) if rule.name == circle[0])
        way = " -> ".join([*circle, circle[0]])
        raise PlacedError(f"{path}[{number}]", f"the rules go round for ever: {way}; give one of them 'max_rounds'")


def _check_rule(rule: Rule, path: str, types: Mapping[str, AgentType]) -> None:
    _check_identifier(rule.name, f"{path}.name", "a rule's name")
    _check_identifier(rule.phase, f"{path}.phase", "a phase")
    _check_known(rule.priority, PRIORITIES, f"{path}.priority")
    for at, event in _each(rule.on.types, f"{path}.on.types"):
        _check_event_type(event, at)
    for at, spawned in _each(rule.spawn, f"{path}.spawn"):
        _check_known(spawned, types.keys(), at)
    if rule.on.filter is not None:
        try:
            parse_filter(rule.on.filter)
        except InvalidFilter as refused:
            raise PlacedError(f"{path}.on.filter", refused.message) from None
    _check_template(rule.task, f"{path}.task")


def _check_template(template: str, path: str) -> None:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise PlacedError(path, f"{error}; write {{{{ and }}}} for braces that are meant as such") from None
    for _text, name, form, conversion in parts:
        if name is None:
            continue
        _check_known(name, PLACEHOLDERS, path)
        if form or conversion:
            raise PlacedError(path, f"write {{{name}}} alone, without a conversion or a format")
