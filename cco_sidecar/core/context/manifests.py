"""The dependencies that a project's manifests name. The texts are untrusted: what does not parse gives nothing."""

import configparser
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping

from attrs import frozen

from cco_sidecar.core.context.redaction import without_userinfo

MOST_DEPENDENCIES = 200
MOST_CHARACTERS = 262_144
_MOST_CHARACTERS = 200


@frozen
class Dependency:
    """A name, the version asked for ("" if any), and the manifest that says so."""

    name: str
    version: str
    source: str


def dependencies(manifests: Mapping[str, str]) -> list[Dependency]:
    """Give the first 200 dependencies of the manifests, by path, each once per manifest."""
    found: dict[tuple[str, str], Dependency] = {}
    for path, text in manifests.items():
        for name, version in _read(path, text[:MOST_CHARACTERS]):
            if len(found) >= MOST_DEPENDENCIES:
                return list(found.values())
            shown = " ".join(without_userinfo(word) for word in version[:_MOST_CHARACTERS].split())
            found.setdefault((name, path), Dependency(without_userinfo(name[:_MOST_CHARACTERS]), shown, path))
    return list(found.values())


def table(text: str) -> dict[str, object]:
    """Read TOML or JSON as a table; what is none is empty."""
    try:
        value = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def inner(value: Mapping[str, object], *path: str) -> dict[str, object]:
    """Follow keys through tables; anything that is no table is empty."""
    here: object = value
    for key in path:
        here = here.get(key) if isinstance(here, Mapping) else None
    return dict(here) if isinstance(here, Mapping) else {}


_Pairs = Iterable[tuple[str, str]]
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*([^;#]*)")


def _read(path: str, text: str) -> _Pairs:
    name = path.rpartition("/")[2].lower()
    if name.startswith("requirements") and name.endswith(".txt"):
        return _requirements(text.splitlines())
    reader = _READERS.get(name)
    return reader(text) if reader else ()


def _requirements(lines: Iterable[object]) -> Iterator[tuple[str, str]]:
    for line in lines:
        found = _REQUIREMENT.match(line) if isinstance(line, str) else None
        if found:
            yield found[1], found[2].strip()


def _pyproject(text: str) -> Iterator[tuple[str, str]]:
    whole = table(text)
    project = inner(whole, "project")
    yield from _requirements(_list(project.get("dependencies")))
    for extra in inner(project, "optional-dependencies").values():
        yield from _requirements(_list(extra))
    yield from _versions(inner(whole, "tool", "poetry", "dependencies"))


def _setup_cfg(text: str) -> Iterator[tuple[str, str]]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return
    yield from _requirements(parser.get("options", "install_requires", fallback="").splitlines())
    if parser.has_section("options.extras_require"):
        for _, lines in parser.items("options.extras_require"):
            yield from _requirements(lines.splitlines())


def _json_members(*names: str) -> Callable[[str], _Pairs]:
    def read(text: str) -> Iterator[tuple[str, str]]:
        whole = table(text)
        for name in names:
            yield from _versions(inner(whole, name))

    return read


def _versions(members: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, version in members.items():
        number = version.get("version") if isinstance(version, Mapping) else version
        yield name, number if isinstance(number, str) else ""


def _by_line(pattern: str) -> Callable[[str], _Pairs]:
    """Read manifests that are programs by what their lines look like; lines are short, so no pattern runs long."""
    compiled = re.compile(pattern)

    def read(text: str) -> Iterator[tuple[str, str]]:
        for line in text.splitlines():
            found = compiled.match(line[:512])
            if found:
                yield found["name"], found.groupdict().get("version") or ""

    return read


def _pom(text: str) -> Iterator[tuple[str, str]]:
    for rest in text.split("<dependency>")[1:]:
        block = rest[:4096].partition("</dependency>")[0]
        name = re.search(r"<artifactId>([^<]{1,200})</artifactId>", block)
        version = re.search(r"<version>([^<]{1,200})</version>", block)
        if name:
            yield name[1].strip(), version[1].strip() if version else ""


def _pubspec(text: str) -> Iterator[tuple[str, str]]:
    inside = False
    for line in text.splitlines():
        if line[:1].strip():
            inside = line.startswith(("dependencies:", "dev_dependencies:"))
        elif inside and (found := re.match(r"  ([A-Za-z0-9_]+):\s*([^\s{#]*)", line[:512])):
            yield found[1], found[2]


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


_READERS: dict[str, Callable[[str], _Pairs]] = {
    "pyproject.toml": _pyproject,
    "setup.cfg": _setup_cfg,
    "package.json": _json_members("dependencies", "devDependencies", "peerDependencies", "optionalDependencies"),
    "cargo.toml": _json_members("dependencies", "dev-dependencies", "build-dependencies"),
    "composer.json": _json_members("require", "require-dev"),
    "go.mod": _by_line(r"(?:require\s+)?\s*(?P<name>[\w.-]+\.[\w.-]+/\S+)\s+(?P<version>v\S+)"),
    "gemfile": _by_line(r"\s*gem\s+['\"](?P<name>[^'\"]+)['\"](?:\s*,\s*['\"](?P<version>[^'\"]+)['\"])?"),
    "pom.xml": _pom,
    "build.gradle": _by_line(
        r"\s*(?:\w*[iI]mplementation|api|compileOnly|runtimeOnly)\s*\(?\s*['\"](?P<name>[^'\":]+:[^'\":]+)(?::(?P<version>[^'\"]+))?"
    ),
    "pubspec.yaml": _pubspec,
    "package.swift": _by_line(r".*\.package\(.*url:\s*\"(?P<name>[^\"]+)\"(?:.*\"(?P<version>[^\"]+)\")?"),
    "cmakelists.txt": _by_line(r"(?i)\s*find_package\s*\(\s*(?P<name>\w+)(?:\s+(?P<version>[\d.]+))?"),
}
_READERS["build.gradle.kts"] = _READERS["build.gradle"]
