"""The kinds of file that a roster entry may prefer (`cco_sidecar.core.roster.KINDS`); a file may be of several."""

import re
from functools import lru_cache

from cco_sidecar.core.context.languages import MOST_REMEMBERED, Kind, kind_of, language_of

_BY_PATH = {
    "tests": re.compile(
        r"(^|/)(tests?|specs?|__tests__)/|(^|/)(test_[^/]*|conftest\.py|[^/]*[._-](test|spec)s?\.[^/.]+)$"
    ),
    "ci": re.compile(
        r"^\.(github/workflows|circleci|ci|buildkite)/|(^|/)(\.gitlab-ci\.yml|\.travis\.yml|jenkinsfile|azure-pipelines\.yml)$"
    ),
    "schemas": re.compile(r"(^|/)migrations?/|(^|/)(schema\.[^/]*|openapi[^/]*|swagger[^/]*)$|\.xsd$"),
    "infrastructure": re.compile(
        r"(^|/)(k8s|kubernetes|helm|terraform|ansible|infra|infrastructure|deploy)/"
        r"|(^|/)(dockerfile[^/]*|[^/]*\.dockerfile|docker-compose[^/]*|compose\.ya?ml)$"
    ),
    "scripts": re.compile(r"(^|/)(scripts?|bin|tools)/|(^|/)(gnu)?makefile$|(^|/)justfile$"),
}
_BY_LANGUAGE = {
    "sql": "schemas",
    "graphql": "schemas",
    "protobuf": "schemas",
    "prisma": "schemas",
    "css": "styles",
    "hcl": "infrastructure",
    "docker": "infrastructure",
    "shell": "scripts",
    "powershell": "scripts",
    "notebook": "notebooks",
}
_BY_KIND = {
    Kind.SOURCE: "source",
    Kind.DOCUMENT: "docs",
    Kind.CONFIGURATION: "config",
    Kind.MANIFEST: "manifests",
}


@lru_cache(MOST_REMEMBERED)
def parts_of(path: str) -> frozenset[str]:
    """Name the kinds, in the roster's words, that a file is of."""
    lowered = path.lower()
    found = {name for name, pattern in _BY_PATH.items() if pattern.search(lowered)}
    for name in (_BY_LANGUAGE.get(language_of(path)), _BY_KIND.get(kind_of(path))):
        if name is not None:
            found.add(name)
    return frozenset(found)
