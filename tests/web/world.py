"""What the sidecars of differential tests stand on: settings, key, roster; and the tokens of those who call them."""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jwt
from attrs import frozen

from cco_sidecar.backends.keys import load_keys
from cco_sidecar.core.hook_keys import HookKeys
from cco_sidecar.core.roster import parse_roster
from cco_sidecar.ground import Ground
from cco_sidecar.settings import load
from tests.fakes import START
from tests.web.forging import claims

MOST_EVENTS = 20
"""Few, so that retention comes to its end; with as few places for polls (``most_polls``), so does that room."""
TOPICS = ["work", "review"]
"""All that a 'topical' agent may publish on."""


@frozen
class World:
    """What sidecars stand on, and who calls them: tokens, by what is special about their holders."""

    ground: Ground
    cast: Mapping[str, bytes]

    @classmethod
    def below(cls, directory: Path, most_polls: int = 6) -> "World":
        """Make one; a directory is needed for the settings, and nothing in it is claimed."""
        ground = _ground_in(directory, most_polls)
        return cls(ground, _cast_of(ground))

    def told(self, what: object) -> str:
        """Write something down for people, without the length of tokens."""
        text = repr(what)
        for name, token in self.cast.items():
            text = text.replace(token.decode(), f"<{name}>")
        return text


def _ground_in(directory: Path, most_polls: int) -> Ground:
    roots = [directory / "alpha", directory / "beta"]
    for root in roots:
        root.mkdir()
    (directory / "config.json").write_text(
        json.dumps({"events": {"max_events": MOST_EVENTS, "max_parked_polls": most_polls}})
    )
    flags = {"storage": str(directory / "storage"), "project_root": [f"{root.name}={root}" for root in roots]}
    environ = {"CCO_HOME": str(directory / "home"), "HOME": str(directory)}
    settings = load({**flags, "config": str(directory / "config.json")}, environ, directory)
    packaged = json.loads(resources.files("cco_sidecar.data").joinpath("roster.json").read_bytes())
    few = {name: packaged[name] for name in ("architect", "codingAgents", "documentationAgents")}
    few["codingAgents"][0] |= {"topics": TOPICS}
    roster = parse_roster(json.dumps(few).encode(), source="few types", limits={}, limited=True)
    nowhere: Any = None  # nobody listens
    return Ground(settings, -1, nowhere, load_keys(directory / "keys"), HookKeys(bytes(32)), roster, 3001)


def _cast_of(ground: Ground) -> Mapping[str, bytes]:
    now, key = int(START), ground.keys.signing
    writer = ground.roster.types["python-specialist"].type
    clerk = next(kind.type for kind in ground.roster.types.values() if kind.category == "documentation")
    topical = next(kind.type for kind in ground.roster.types.values() if kind.topics is not None)
    special: dict[str, dict[str, Any]] = {
        "architect": {},
        "coder": {"agent_type": writer},
        "clerk": {"agent_type": clerk},
        "topical": {"agent_type": topical},
        "narrow": {"permissions": ["read_context"]},
        "beta": {"project_id": "beta"},
        "stranger": {"agent_type": "no-such-type"},
        "ending": {"iat": now - 3400, "nbf": now - 3400, "exp": now + 200},
        "dying": {"agent_type": writer, "iat": now - 3598, "nbf": now - 3598, "exp": now + 2},
        "ageing": {"iat": now - 3299, "nbf": now - 3299, "exp": now + 301},
        "mortal": {},
        "admin": {"sub": "admin", "agent_type": "admin", "project_id": "*", "issue_id": "*"},
        "expired": {"iat": now - 3601, "nbf": now - 3601, "exp": now - 1},
        "gone": {},
        "gamma": {"project_id": "gamma"},
        "foreign": {"iss": "somebody"},
        "early": {"iat": now + 60, "nbf": now + 60, "exp": now + 3660},
    }
    cast = {}
    for name, changed in special.items():
        whole = claims(now, **{"sub": name, "jti": f"jti-{name}", **changed})
        cast[name] = jwt.encode(whole, key.private, "RS256", {"kid": key.key_id}).encode()
    cast["forged"] = cast["architect"][:-8] + b"AAAAAAAA"
    return cast
