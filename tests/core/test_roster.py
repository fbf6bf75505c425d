"""The roster of agent types: what is packaged, what a user's own file may say, and how slips are told."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.core.limits import RateLimit
from cco_sidecar.core.roster import (
    ALL_PERMISSIONS,
    CATEGORIES,
    KINDS,
    SPAWN_AGENTS,
    AgentType,
    Roster,
    RosterError,
    parse_roster,
)
from cco_sidecar.core.roster_file import MOST_BYTES
from cco_sidecar.errors import InvalidParameter, UnknownAgentType

PACKAGED = (resources.files("cco_sidecar.data") / "roster.json").read_bytes()

TYPES = {
    "architect": "chief-architect:o",
    "coding": """
        tdd-coding-agent:h python-specialist:h swift-specialist:h go-specialist:h rust-specialist:h
        flutter-specialist:h java-specialist:h cpp-specialist:h
    """,
    "integration": """
        api-explorer:s salesforce-api-specialist:s authentik-api-specialist:s
    """,
    "development": """
        frontend-developer:h backend-architect:s fullstack-developer:h code-reviewer:s debugger:h python-pro:h
        typescript-pro:h javascript-pro:h golang-pro:h rust-pro:h mobile-developer:h ios-developer:h
        nextjs-architecture-expert:s react-performance-optimization:h react-performance-optimizer:s
        graphql-architect:s graphql-performance-optimizer:s graphql-security-specialist:s shell-scripting-pro:h
        legacy-modernizer:h architecture-modernizer:s dx-optimizer:h git-flow-manager:h dependency-manager:h
        error-detective:h architect-review:s flutter-go-reviewer:h web-vitals-optimizer:h
    """,
    "data": """
        database-architect:s database-admin:h database-optimization:h database-optimizer:h data-engineer:h
        data-scientist:h data-analyst:h nosql-specialist:h sql-pro:h supabase-schema-architect:s
        supabase-realtime-optimizer:h
    """,
    "infrastructure": """
        devops-engineer:h deployment-engineer:h cloud-architect:s cloud-migration-specialist:s
        terraform-specialist:s network-engineer:h monitoring-specialist:h devops-troubleshooter:h
        incident-responder:h load-testing-specialist:h
    """,
    "security": """
        security-auditor:s security-engineer:s api-security-audit:s penetration-tester:s compliance-specialist:s
        mcp-security-auditor:s web-accessibility-checker:h risk-manager:h
    """,
    "aiMl": """
        ai-engineer:s ml-engineer:s mlops-engineer:s model-evaluator:h prompt-engineer:h
    """,
    "mcp": """
        mcp-expert:h mcp-server-architect:s mcp-integration-engineer:h mcp-deployment-orchestrator:s
        mcp-protocol-specialist:h mcp-testing-engineer:h
    """,
    "documentation": """
        documentation-expert:h technical-writer:h api-documenter:h changelog-generator:h markdown-syntax-formatter:h
        llms-maintainer:h report-generator:h
    """,
    "research": """
        technical-researcher:s academic-researcher:h research-orchestrator:s research-coordinator:h
        research-synthesizer:s research-brief-generator:h comprehensive-researcher:h fact-checker:h
        query-clarifier:h search-specialist:h
    """,
    "support": """
        test-engineer:h test-automator:h ui-ux-designer:h cli-ui-designer:h performance-engineer:s
        performance-profiler:h context-manager:s task-decomposition-expert:s command-expert:h connection-agent:h
        metadata-agent:h tag-agent:h document-structure-analyzer:h url-link-extractor:h
        project-supervisor-orchestrator:h unused-code-cleaner:h agent-overview:h review-agent:h
    """,
    "business": """
        product-strategist:s business-analyst:h content-marketer:h quant-analyst:h
    """,
}
"""Every packaged type by category, with the first letter of its model."""

ODD_NAMES = {
    "tdd-coding-agent": "TDD Coding Agent",
    "api-explorer": "API Explorer",
    "salesforce-api-specialist": "Salesforce API Specialist",
    "authentik-api-specialist": "Authentik API Specialist",
    "cpp-specialist": "C++ Specialist",
}
"""The names that are not simply the type in title case."""

COUNTS = {
    "architect": 1,
    "coding": 8,
    "integration": 3,
    "development": 28,
    "data": 11,
    "infrastructure": 10,
    "security": 8,
    "aiMl": 5,
    "mcp": 6,
    "documentation": 7,
    "research": 10,
    "support": 18,
    "business": 4,
}

LIFECYCLE = {"issue_started", "agent_completed", "agent_failed", "escalation_required", "report_requested"}
"""Events that the sidecar or a person publishes."""


def packaged() -> Roster:
    return parse_roster(PACKAGED, source="packaged")


def parse(value: object, **keywords: Any) -> Roster:
    return parse_roster(json.dumps(value).encode(), source="my.json", **keywords)


def only(entry: Mapping[str, object], category: str = "codingAgents", **keywords: Any) -> AgentType:
    """Give the one type of a roster that has just this entry."""
    written = entry if category == "architect" else [entry]
    (found,) = parse({category: written}, **keywords).types.values()
    return found


def refusal(value: object) -> str:
    with pytest.raises(RosterError) as caught:
        parse(value)
    return str(caught.value)


def test_packaged_types() -> None:
    """The packaged roster has the 119 types, each in its category, with its model and name."""
    expected = {
        word.partition(":")[0]: (category, word.partition(":")[2])
        for category, words in TYPES.items()
        for word in words.split()
    }
    types = packaged().types
    assert len(types) == 119
    assert {name: (found.category, found.model[0]) for name, found in types.items()} == expected
    for name, found in types.items():
        assert found.name == ODD_NAMES.get(name, name.replace("-", " ").title())


def test_packaged_counts() -> None:
    """Each category has as many types as it should, and there is no other category."""
    categories = [found.category for found in packaged().types.values()]
    assert {category: categories.count(category) for category in categories} == COUNTS
    assert set(COUNTS) == set(CATEGORIES)


def test_packaged_roles() -> None:
    """Every role is a description of its own that can serve as a task, with concrete capabilities."""
    types = packaged().types.values()
    assert len({found.role for found in types}) == 119
    assert len({tuple(found.role.split()[:4]) for found in types}) == 119
    for found in types:
        assert 40 <= len(found.role) <= 400, found.type
        assert 3 <= len(set(found.capabilities)) == len(found.capabilities) <= 6, found.type


def test_packaged_events() -> None:
    """What a packaged type, or a rule, waits for is published by somebody, and every type has something to say."""
    roster = packaged()
    published = {event for found in roster.types.values() for event in found.publishes} | LIFECYCLE
    waited = {event for found in roster.types.values() for event in found.subscribes}
    ruled = {event for flow in roster.workflows.values() for rule in flow.rules for event in rule.on.types}
    assert (waited | ruled) <= published
    assert all(found.publishes and found.subscribes for found in roster.types.values())


def test_packaged_sets_no_exceptions() -> None:
    """The packaged types have the rights, the topics and the limits of their category."""
    for found in packaged().types.values():
        assert found.topics is None
        assert (SPAWN_AGENTS in found.permissions) == (found.category == "architect")
        assert found.permissions >= ALL_PERMISSIONS - {SPAWN_AGENTS}


@pytest.mark.parametrize(
    ("agent_type", "language"),
    [
        ("python-specialist", "python"),
        ("python-pro", "python"),
        ("go-specialist", "go"),
        ("golang-pro", "go"),
        ("rust-pro", "rust"),
        ("swift-specialist", "swift"),
        ("java-specialist", "java"),
        ("flutter-specialist", "dart"),
        ("typescript-pro", "typescript"),
        ("javascript-pro", "javascript"),
        ("sql-pro", "sql"),
        ("shell-scripting-pro", "shell"),
    ],
)
def test_language_specialists(agent_type: str, language: str) -> None:
    """A language's specialist wants source in that language alone."""
    assert packaged().get(agent_type).context.languages == (language,)


@pytest.mark.parametrize("agent_type", ["chief-architect", "code-reviewer", "security-auditor", "test-engineer"])
def test_types_of_any_language(agent_type: str) -> None:
    """Types whose work is not about a language want source in any."""
    assert packaged().get(agent_type).context.languages == ()


@pytest.mark.parametrize(
    ("category", "limit"),
    [("architect", None), ("codingAgents", (300, 60)), ("aiMlAgents", (300, 60)), ("supportAgents", (120, 30))],
)
def test_limits_of_categories(category: str, limit: tuple[int, int] | None) -> None:
    """A type has the token bucket of its category."""
    assert only({"type": "mine"}, category).rate_limit == (RateLimit(*limit) if limit else None)


def test_limits_from_settings() -> None:
    """The settings replace a category's bucket, the roster a type's; the settings can turn all of them off."""
    limits = {"coding": RateLimit(10, 2), "architect": RateLimit(7, 1)}
    own = {"type": "mine", "rate_limit": {"per_minute": 5, "burst": 1}}
    assert only({"type": "mine"}, limits=limits).rate_limit == RateLimit(10, 2)
    assert only({"type": "mine"}, "architect", limits=limits).rate_limit == RateLimit(7, 1)
    assert only({"type": "mine"}, "dataAgents", limits=limits).rate_limit == RateLimit(300, 60)
    assert only(own, limits=limits).rate_limit == RateLimit(5, 1)
    assert only(own, limits=limits, limited=False).rate_limit is None


def test_permissions_and_topics_of_a_type() -> None:
    """A type's own permissions and topics take the place of its category's."""
    found = only({"type": "mine", "permissions": ["read_context", "spawn_agents"], "topics": ["builds"]})
    assert found.permissions == {"read_context", "spawn_agents"}
    assert found.topics == frozenset({"builds"})
    silent = only({"type": "mine", "permissions": [], "topics": []})
    assert (silent.permissions, silent.topics) == (frozenset(), frozenset())


def test_own_file_of_the_faq() -> None:
    """The entry that the FAQ shows is enough, and the rest has its defaults."""
    shown = {"name": "My Custom Agent", "type": "my-custom-agent", "model": "sonnet", "role": "Does custom work"}
    found = only({**shown, "capabilities": ["custom work"]})
    assert (found.name, found.model, found.role) == ("My Custom Agent", "sonnet", "Does custom work")
    assert found.capabilities == ("custom work",)
    assert (found.publishes, found.subscribes, found.context.languages) == ((), (), ())


def test_only_type_is_required() -> None:
    """A type alone makes an entry: its name is derived, its model is sonnet."""
    found = only({"type": "my-custom_agent"})
    assert (found.name, found.model, found.role) == ("My Custom Agent", "sonnet", "")


def test_get() -> None:
    """A type is found by its name; for any other the nearest is named."""
    roster = packaged()
    assert roster.get("rust-pro") is roster.types["rust-pro"]
    with pytest.raises(UnknownAgentType) as caught:
        roster.get("pyton-specialist")
    assert "python-specialist" in caught.value.message
    assert caught.value.details == {"agent_type": "pyton-specialist", "nearest": "python-specialist"}
    with pytest.raises(UnknownAgentType) as caught:
        roster.get("0" * 128)
    assert caught.value.details["nearest"] is None
    for bad in ("0" * 129, "", "a/b"):
        with pytest.raises(InvalidParameter):
            roster.get(bad)
    assert len(caught.value.message) < 300


def rule(**changes: object) -> dict[str, Any]:
    """Write a roster with one rule, right but for the changes."""
    written = {"name": "go", "phase": "work", "on": {"types": ["issue_started"]}, "spawn": ["mine"], **changes}
    return {"codingAgents": [{"type": "mine"}], "workflows": [{"name": "flow", "rules": [written]}]}


def entry(**changes: object) -> dict[str, Any]:
    """Write a roster whose second coding agent is right but for the changes."""
    return {"codingAgents": [{"type": "first"}, {"type": "mine", **changes}]}


def test_rules_that_go_round() -> None:
    """Rules that call each other in a circle need a bound, one of them at least; where a filter breaks it, none."""

    def circle(**more: object) -> dict[str, object]:
        agents = [{"type": "a", "publishes": ["made", "made_badly"]}, {"type": "b", "publishes": ["checked_badly"]}]
        rules = [
            {"name": "make", "phase": "p", "on": {"types": ["issue_started", "checked_badly"]}, "spawn": ["a"]},
            {"name": "check", "phase": "p", "on": {"types": ["made"]}, "spawn": ["b"], **more},
        ]
        return {"codingAgents": agents, "workflows": [{"name": "w", "rules": rules}]}

    with pytest.raises(RosterError, match="make -> check -> make"):
        parse(circle())
    assert parse(circle(max_rounds=2)).workflows["w"].rules[1].most_rounds == 2
    assert parse(circle(on={"types": ["agent_completed"], "filter": "agent_type:mine"})).workflows
    with pytest.raises(RosterError, match="make -> check -> make"):
        parse(circle(on={"types": ["agent_completed"], "filter": "agent_type:a"}))


def test_writers_of_slips() -> None:
    """What the refusals below are made from is right as it stands, so that each is refused for its slip alone."""
    assert set(parse(entry()).types) == {"first", "mine"}
    (flow,) = parse(rule()).workflows.values()
    assert (flow.title, flow.rules[0].task, flow.rules[0].priority) == ("flow", "{task}", "normal")
    assert (flow.rules[0].most_rounds, flow.rules[0].retries, flow.rules[0].timeout_seconds) == (3, 1, None)
    escaped = rule(task="{{not a placeholder}} {task} {issue_id}", on={"types": ["x"], "filter": "a:b"})
    assert parse(escaped).workflows["flow"].rules[0].on.filter == "a:b"


ENTRY = "$.codingAgents[1]"
RULE = "$.workflows[0].rules[0]"


@pytest.mark.parametrize(
    ("value", "path", "said"),
    [
        ([], "$", "object"),
        ({}, "$", "there is no agent type"),
        ({"codingAgents": []}, "$", "there is no agent type"),
        ({"codingAgent": []}, "$", "did you mean 'codingAgents'?"),
        ({"zzz": []}, "$", "known are "),
        ({"codingAgents": {}}, "$.codingAgents", "array"),
        ({"codingAgents": [{}]}, "$.codingAgents[0].type", "missing"),
        ({"architect": [{"type": "a"}]}, "$.architect", "object"),
        ({"architect": {"type": "mine"}, **entry()}, f"{ENTRY}.type", "already at $.architect"),
        (entry(type="no spaces"), f"{ENTRY}.type", "letters, digits"),
        (entry(type="../up"), f"{ENTRY}.type", "letters, digits"),
        (entry(type="first"), f"{ENTRY}.type", "already at $.codingAgents[0]"),
        (entry(model=3), f"{ENTRY}.model", "expected `str`"),
        (entry(model="sonet"), f"{ENTRY}.model", "did you mean 'sonnet'?"),
        (entry(modle="opus"), ENTRY, "did you mean 'model'?"),
        (entry(role="r" * 2001), f"{ENTRY}.role", "2000"),
        (entry(capabilities=["c"] * 65), f"{ENTRY}.capabilities", "64"),
        (entry(capabilities=["c", 1]), f"{ENTRY}.capabilities[1]", "expected `str`"),
        (entry(permissions=["read_contxt"]), f"{ENTRY}.permissions[0]", "did you mean 'read_context'?"),
        (entry(topics=["a b"]), f"{ENTRY}.topics[0]", "letters, digits"),
        (entry(publishes=["ok", "wait"]), f"{ENTRY}.publishes[1]", "cannot be an event type"),
        (entry(subscribes=["*"]), f"{ENTRY}.subscribes[0]", "letters, digits"),
        (entry(rate_limit={"per_minute": 0, "burst": 1}), f"{ENTRY}.rate_limit.per_minute", ">= 1"),
        (entry(rate_limit={"per_minute": 5}), f"{ENTRY}.rate_limit.burst", "missing"),
        (entry(rate_limit={"per_min": 5}), f"{ENTRY}.rate_limit", "did you mean 'per_minute'?"),
        (entry(context={"langages": []}), f"{ENTRY}.context", "did you mean 'languages'?"),
        (entry(context={"languages": ["Go"]}), f"{ENTRY}.context.languages[0]", "'go'"),
        (entry(context={"prefer": ["test"]}), f"{ENTRY}.context.prefer[0]", "did you mean 'tests'?"),
        (rule(spawn=["mein"]), f"{RULE}.spawn[0]", "did you mean 'mine'?"),
        (rule(spawn=[]), f"{RULE}.spawn", "length"),
        (rule(name="a b"), f"{RULE}.name", "letters, digits"),
        (rule(phase="a b"), f"{RULE}.phase", "letters, digits"),
        (rule(priority="hihg"), f"{RULE}.priority", "did you mean 'high'?"),
        (rule(max_rounds=0), f"{RULE}.max_rounds", ">= 1"),
        (rule(retries=11), f"{RULE}.retries", "<= 10"),
        (rule(timeout_seconds=0), f"{RULE}.timeout_seconds", ">= 1"),
        (rule(on={"types": ["x", "issue_startet"]}), f"{RULE}.on.types[1]", "did you mean 'issue_started'?"),
        (rule(on={"types": ["agent_completed"]}), RULE, "go round for ever: go -> go; give one of them 'max_rounds'"),
        (rule(spwan=[]), RULE, "did you mean 'spawn'?"),
        (rule(on={"type": ["issue_started"]}), f"{RULE}.on", "did you mean 'types'?"),
        (rule(on={"types": ["stream"]}), f"{RULE}.on.types[0]", "cannot be an event type"),
        (rule(on={"types": ["x"], "filter": "a==b"}), f"{RULE}.on.filter", "Write: a:b"),
        (rule(task="{taks}"), f"{RULE}.task", "did you mean 'task'?"),
        (rule(task="{task!r}"), f"{RULE}.task", "without a conversion"),
        (rule(task="a {"), f"{RULE}.task", "{{ and }}"),
        ({**rule(), "workflows": [{"name": "flow", "ruels": []}]}, "$.workflows[0]", "did you mean 'rules'?"),
        ({**rule(), "workflows": rule()["workflows"] * 2}, "$.workflows[1].name", "already"),
    ],
)
def test_refusals(value: object, path: str, said: str) -> None:
    """Each slip is told in one line: the source, where it is, and what would be right."""
    message = refusal(value)
    assert message.startswith(f"my.json: {path}: ")
    assert said in message
    assert message.isprintable()


def test_same_rule_twice() -> None:
    """Two rules of one workflow may not have the same name, or nobody could tell which of them fired."""
    value = rule()
    value["workflows"][0]["rules"] *= 2
    assert refusal(value).startswith("my.json: $.workflows[0].rules[1].name: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{\n "codingAgents": [,]}', "not JSON: JSON is malformed: invalid character (line 2, column 19)"),
        (b"", "not JSON"),
        (b'{"\xff": 1}', "not UTF-8"),
        (b" " * (MOST_BYTES + 1), f"{MOST_BYTES} is the most"),
    ],
    ids=["syntax", "empty", "utf-8", "huge"],
)
def test_refused_texts(text: bytes, said: str) -> None:
    """What is not JSON at all is told, too, with the line and column where that is known."""
    with pytest.raises(RosterError, match=r"^my\.json: \$: ") as caught:
        parse_roster(text, source="my.json")
    assert said in str(caught.value)


def test_too_many_types() -> None:
    """A roster has at most 1000 types, over all its lists."""
    lists = {key: [{"type": f"{key}-{n}"} for n in range(600)] for key in ("codingAgents", "dataAgents")}
    assert "1200 agent types" in refusal(lists)
    assert refusal({"codingAgents": [{"type": f"t{n}"} for n in range(1001)]}).startswith("my.json: $.codingAgents: ")


def test_hostile_keys_stay_in_one_line() -> None:
    """A key made to look like a message, or to end the line, does neither."""
    message = refusal({"x` - at `$.architect\n\x1b[31m": 1})
    assert message.isprintable()
    assert message.startswith("my.json: $: unknown key ")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
_words = st.sampled_from(["mine", "issue_started", "opus", "wait", "source", "a b", "{task}", "{", "a:b", ""]) | _json


def _object(*keys: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(keys, _words | st.lists(_words, max_size=2)))


_entry = st.builds(
    lambda some, context: {"type": "mine", **some, "context": context},
    _object("type", "name", "model", "role", "capabilities", "publishes", "topics", "permissions", "rate_limit"),
    _object("languages", "include", "exclude", "prefer"),
)
_rule = st.builds(
    lambda some, on: {"name": "go", "phase": "p", "spawn": ["mine"], "on": {"types": ["x"], **on}, **some},
    _object("name", "phase", "spawn", "task", "priority", "max_rounds", "retries", "timeout_seconds"),
    _object("types", "filter", "all"),
)
_roster_like = st.builds(
    lambda entries, rules: {"codingAgents": entries, "workflows": [{"name": "w", "rules": rules}]},
    st.lists(_entry, max_size=2),
    st.lists(_rule, min_size=1, max_size=2),
)


@given(st.one_of(_roster_like, _json))
def test_any_json(value: object) -> None:
    """Whatever JSON comes, it is a roster or a RosterError of one line; nothing else happens."""
    try:
        roster = parse(value)
    except RosterError as refused:
        assert str(refused).startswith("my.json: $")
        assert str(refused).isprintable()
    else:
        assert roster.types
        assert all(set(found.context.prefer) <= KINDS for found in roster.types.values())


@given(st.binary(max_size=64))
def test_any_bytes(text: bytes) -> None:
    """Bytes that are no JSON object of agent types are refused as any other slip is."""
    with pytest.raises(RosterError):
        parse_roster(text, source="my.json")
