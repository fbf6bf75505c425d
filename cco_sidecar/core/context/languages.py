"""What a file is, judged by its name: its language, and the part it plays in a project."""

from enum import Enum
from functools import lru_cache


class Kind(Enum):
    """The part that a file plays."""

    MANIFEST = "dependency manifest"
    SOURCE = "source"
    MARKUP = "markup"
    DOCUMENT = "document"
    CONFIGURATION = "configuration"
    DATA = "data"
    GENERATED = "generated or lock file"
    OTHER = "file"


_SOURCE = {
    "python": "py pyi pyx pxd pyw",
    "javascript": "js mjs cjs jsx",
    "typescript": "ts tsx mts cts",
    "go": "go",
    "rust": "rs",
    "java": "java",
    "kotlin": "kt kts",
    "scala": "scala sc",
    "groovy": "groovy",
    "swift": "swift",
    "objective-c": "m mm",
    "c": "c h",
    "c++": "cc cpp cxx hh hpp hxx ipp",
    "c#": "cs",
    "f#": "fs fsx",
    "visual-basic": "vb",
    "dart": "dart",
    "ruby": "rb rake gemspec",
    "php": "php",
    "perl": "pl pm",
    "lua": "lua",
    "r": "r",
    "julia": "jl",
    "elixir": "ex exs",
    "erlang": "erl hrl",
    "haskell": "hs",
    "ocaml": "ml mli",
    "clojure": "clj cljs cljc edn",
    "zig": "zig",
    "nim": "nim",
    "apex": "cls trigger apex",
    "shell": "sh bash zsh fish",
    "powershell": "ps1 psm1",
    "vue": "vue",
    "svelte": "svelte",
    "solidity": "sol",
    "fortran": "f90 f95 f03",
    "assembly": "s asm",
}
_OTHER = {
    Kind.MARKUP: {
        "html": "html htm xhtml",
        "css": "css scss sass less",
        "xml": "xml xsl xsd",
        "template": "j2 jinja jinja2 tmpl hbs ejs mustache",
    },
    Kind.DOCUMENT: {
        "markdown": "md markdown mdx",
        "restructuredtext": "rst",
        "text": "txt adoc asciidoc org",
        "tex": "tex",
    },
    Kind.CONFIGURATION: {
        "yaml": "yaml yml",
        "toml": "toml",
        "json": "json jsonc json5",
        "ini": "ini cfg conf properties editorconfig",
        "hcl": "tf tfvars hcl",
        "nix": "nix",
        "cmake": "cmake",
        "make": "mk",
        "docker": "dockerfile",
    },
    Kind.DATA: {
        "sql": "sql",
        "graphql": "graphql gql graphqls",
        "protobuf": "proto",
        "prisma": "prisma",
        "csv": "csv tsv",
        "notebook": "ipynb",
        "svg": "svg",
    },
}
_BY_EXTENSION: dict[str, tuple[str, Kind]] = {
    **{extension: (name, Kind.SOURCE) for name, all_ in _SOURCE.items() for extension in all_.split()},
    **{
        extension: (name, kind)
        for kind, named in _OTHER.items()
        for name, all_ in named.items()
        for extension in all_.split()
    },
}
_BY_NAME = {
    "makefile": ("make", Kind.CONFIGURATION),
    "gnumakefile": ("make", Kind.CONFIGURATION),
    "dockerfile": ("docker", Kind.CONFIGURATION),
    "containerfile": ("docker", Kind.CONFIGURATION),
    "jenkinsfile": ("groovy", Kind.CONFIGURATION),
    "procfile": ("text", Kind.CONFIGURATION),
    "readme": ("text", Kind.DOCUMENT),
    "license": ("text", Kind.DOCUMENT),
    "changelog": ("text", Kind.DOCUMENT),
    "contributing": ("text", Kind.DOCUMENT),
}
_MANIFESTS_WORDS = (
    "pyproject.toml setup.py setup.cfg requirements.txt pipfile environment.yml package.json deno.json cargo.toml "
    "go.mod gemfile pom.xml build.gradle build.gradle.kts settings.gradle pubspec.yaml package.swift "
    "composer.json cmakelists.txt podfile mix.exs"
)
_MANIFESTS = frozenset(_MANIFESTS_WORDS.split())
_GENERATED_WORDS = (
    "package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lock poetry.lock pipfile.lock uv.lock "
    "pdm.lock cargo.lock go.sum gemfile.lock composer.lock pubspec.lock package.resolved podfile.lock mix.lock "
    "flake.lock"
)
_GENERATED = frozenset(_GENERATED_WORDS.split())
_GENERATED_ENDINGS = (".min.js", ".min.css", ".map", "_pb2.py", "_pb2_grpc.py", ".pb.go", ".g.dart", ".freezed.dart")

MOST_REMEMBERED = 131_072
"""Of how many paths it is remembered what they are: asked again for every agent type."""

UNKNOWN = "unknown"
_ALIASES = {
    "golang": "go",
    "js": "javascript",
    "ts": "typescript",
    "cpp": "c++",
    "csharp": "c#",
    "bash": "shell",
    "terraform": "hcl",
}


@lru_cache(MOST_REMEMBERED)
def language_of(path: str) -> str:
    """Name the language of a file ("python", "markdown", …), or "unknown"."""
    return _look_up(path.rpartition("/")[2].lower())[0]


@lru_cache(MOST_REMEMBERED)
def kind_of(path: str) -> Kind:
    """Say which part a file plays."""
    name = path.rpartition("/")[2].lower()
    if name in _GENERATED or name.endswith(_GENERATED_ENDINGS):
        return Kind.GENERATED
    if name in _MANIFESTS or (name.startswith("requirements") and name.endswith(".txt")):
        return Kind.MANIFEST
    return _look_up(name)[1]


def canonical(language: str) -> str:
    """Give the name that `language_of` uses for a language: "golang" is "go"."""
    name = language.lower()
    return _ALIASES.get(name, name)


def _look_up(name: str) -> tuple[str, Kind]:
    stem, dot, extension = name.rpartition(".")
    if dot and extension in _BY_EXTENSION:
        return _BY_EXTENSION[extension]
    return _BY_NAME.get(stem if dot else name) or _BY_NAME.get(name) or (UNKNOWN, Kind.OTHER)
