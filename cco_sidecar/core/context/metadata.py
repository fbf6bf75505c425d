"""What kind of project it is: type, languages, dependencies, and how its tests are run."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from cco_sidecar.core.context.languages import UNKNOWN, Kind, kind_of, language_of
from cco_sidecar.core.context.manifests import dependencies, inner, table
from cco_sidecar.core.context.project import ProjectFile

MOST_MANIFESTS = 20

_TYPES = {
    "pyproject.toml": "python",
    "setup.cfg": "python",
    "setup.py": "python",
    "cargo.toml": "rust",
    "go.mod": "go",
    "pubspec.yaml": "dart",
    "package.swift": "swift",
    "pom.xml": "java",
    "build.gradle": "java",
    "build.gradle.kts": "java",
    "gemfile": "ruby",
    "composer.json": "php",
    "package.json": "javascript",
    "requirements.txt": "python",
    "cmakelists.txt": "c++",
    "mix.exs": "elixir",
}
_TEST_COMMANDS = {
    "python": "pytest",
    "rust": "cargo test",
    "go": "go test ./...",
    "dart": "dart test",
    "swift": "swift test",
    "ruby": "bundle exec rake test",
    "php": "composer test",
    "c++": "ctest",
    "elixir": "mix test",
}
_MAKE_TEST = re.compile(r"^test\s*:(?!=)", re.MULTILINE)


def manifest_paths(files: Sequence[ProjectFile]) -> list[str]:
    """Name the files that `describe` wants the text of: manifests and Makefiles, at most one directory down."""
    near = [file.path for file in files if file.path.count("/") <= 1]
    wanted = [path for path in near if kind_of(path) is Kind.MANIFEST or _name(path) == "makefile"]
    return sorted(wanted, key=lambda path: (path.count("/"), path))[:MOST_MANIFESTS]


def describe(files: Sequence[ProjectFile], manifests: Mapping[str, str], warnings: Sequence[str]) -> dict[str, object]:
    """Make the metadata of a project.

    :param manifests: the texts of the `manifest_paths` that could be read.
    :param warnings: sentences about what could not be gathered.
    """
    languages = Counter(language_of(file.path) for file in files)
    del languages[UNKNOWN]
    at_root = {_name(path): text for path, text in manifests.items() if "/" not in path}
    project_type = _type(at_root, manifests, files)
    return {
        "project_type": project_type,
        "test_command": _test_command(project_type, at_root),
        "warnings": list(warnings),
        "languages": dict(sorted(languages.items(), key=lambda one: (-one[1], one[0]))),
        "dependencies": [
            {"name": one.name, "version": one.version, "source": one.source} for one in dependencies(manifests)
        ],
    }


def _type(at_root: Mapping[str, str], manifests: Mapping[str, str], files: Sequence[ProjectFile]) -> str:
    names = at_root or {_name(path): text for path, text in manifests.items()}
    for name, kind in _TYPES.items():
        if name in names:
            return "typescript" if kind == "javascript" and any(_is_typescript(file) for file in files) else kind
    sources = Counter(language_of(file.path) for file in files if kind_of(file.path) is Kind.SOURCE)
    return min(sources, key=lambda name: (-sources[name], name)) if sources else UNKNOWN


def _is_typescript(file: ProjectFile) -> bool:
    return file.path == "tsconfig.json"


def _test_command(project_type: str, at_root: Mapping[str, str]) -> str | None:
    if _MAKE_TEST.search(at_root.get("makefile", "")):
        return "make test"
    if "test" in inner(table(at_root.get("package.json", "")), "scripts"):
        return "npm test"
    if "pom.xml" in at_root:
        return "mvn test"
    if "build.gradle" in at_root or "build.gradle.kts" in at_root:
        return "gradle test"
    if "flutter" in at_root.get("pubspec.yaml", ""):
        return "flutter test"
    return _TEST_COMMANDS.get(project_type)


def _name(path: str) -> str:
    return path.rpartition("/")[2].lower()
