"""The arrows of the architecture: web -> core <- backends, and nothing but the composition root sees both."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cco_sidecar

ROOT = Path(cco_sidecar.__file__).parent
PACKAGE = "cco_sidecar"
MODULES = {
    ".".join((PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
COMPOSERS = {f"{PACKAGE}.service", f"{PACKAGE}.tap"}
COMPOSERS |= {name for name in MODULES if name.startswith(f"{PACKAGE}.composition.")}
CORE_THIRD_PARTY = (
    "attr",
    "attrs",
    "cachetools",
    "cryptography",
    "jwt",
    "msgspec",
    "twisted.internet.defer",
    "twisted.internet.interfaces",
    "twisted.internet.task",
    "twisted.logger",
    "twisted.python.failure",
    "zope.interface",
    # Of no I/O either: patterns as git reads them, and a regular expression engine in linear time.
    "pathspec",
    "re2",
)
NOT_IN_CORE = {"os", "io", "socket", "subprocess", "threading", "multiprocessing", "shutil", "tempfile", "select"}
NOT_IN_CORE |= {"signal", "fcntl", "mmap", "asyncio", "urllib", "http", "time", "random", "secrets", "uuid"}


def imports_of(name: str, *, top_only: bool = False) -> Iterator[tuple[str, bool]]:
    """Give every module that a module names in an import, and whether that is for types alone."""
    tree = ast.parse(MODULES[name].read_text())
    for node in _import_nodes(tree, typing_only=False, top_only=top_only):
        statement, typing_only = node
        if isinstance(statement, ast.Import):
            yield from ((alias.name, typing_only) for alias in statement.names)
            continue
        assert statement.level == 0, f"{name} has a relative import"
        assert statement.module is not None
        for alias in statement.names:
            whole = f"{statement.module}.{alias.name}"
            yield (whole if whole in MODULES or whole == "twisted.internet.reactor" else statement.module), typing_only


def _import_nodes(
    node: ast.AST, *, typing_only: bool, top_only: bool
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, typing_only
        elif not (top_only and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))):
            guarded = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from _import_nodes(child, typing_only=typing_only or guarded, top_only=top_only)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def ours(*parts: str) -> tuple[str, ...]:
    return tuple(f"{PACKAGE}.{part}" for part in parts)


def names_in(*parts: str) -> list[str]:
    return [name for name in MODULES if within(name, *ours(*parts))]


def test_there_are_modules() -> None:
    """The walk finds the packages that the other tests speak of."""
    for package in ("core", "web", "backends", "cli"):
        assert len(names_in(package)) > 5, package


@pytest.mark.parametrize("name", names_in("core"))
def test_core(name: str) -> None:
    """The core sees itself, the refusals and the doors, and libraries that do no I/O."""
    for imported, typing_only in imports_of(name):
        if within(imported, PACKAGE):
            assert within(imported, *ours("core", "errors", "interfaces")), imported
        elif imported.partition(".")[0] in sys.stdlib_module_names:
            assert imported.partition(".")[0] not in NOT_IN_CORE, imported
        else:
            assert typing_only or within(imported, *CORE_THIRD_PARTY), imported


@pytest.mark.parametrize("name", names_in("core"))
def test_core_paths(name: str) -> None:
    """Where the core has a path, it is a value: it is never asked of the file system."""
    tree = ast.parse(MODULES[name].read_text())
    asked = {"read_bytes", "read_text", "write_bytes", "write_text", "open", "exists", "is_file", "is_dir", "stat"}
    asked |= {"unlink", "mkdir", "iterdir", "resolve", "glob", "rglob", "touch", "lstat", "is_symlink"}
    imports_path = any(imported == "pathlib" for imported, _ in imports_of(name))
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {function.attr for function in functions if isinstance(function, ast.Attribute)}
    builtins = {function.id for function in functions if isinstance(function, ast.Name)}
    assert "open" not in builtins
    assert not (imports_path and called & asked), called & asked


@pytest.mark.parametrize("name", names_in("web"))
def test_web(name: str) -> None:
    """The web sees the core, never what lies on disk or runs."""
    for imported, _ in imports_of(name):
        if within(imported, PACKAGE):
            assert (
                within(imported, *ours("web", "core", "errors", "interfaces", "logs", "access_log"))
                or imported == PACKAGE
            ), imported


@pytest.mark.parametrize("name", names_in("backends"))
def test_backends(name: str) -> None:
    """The backends see the core's values and the doors, never the web."""
    for imported, _ in imports_of(name):
        if within(imported, PACKAGE):
            assert within(imported, *ours("backends", "core", "errors", "interfaces", "logs")), imported


@pytest.mark.parametrize("name", names_in("cli"))
def test_cli(name: str) -> None:
    """The command is light: it sees neither web nor core, and no reactor before it runs one."""
    for imported, _ in imports_of(name, top_only=True):
        assert not within(imported, *ours("web", "backends", "service", "tap")), imported
        assert not within(imported, "twisted", "klein", "msgspec", "jwt", "cryptography"), imported
        if within(imported, *ours("core")):
            assert imported == f"{PACKAGE}.core.identifiers", imported


@pytest.mark.parametrize("name", names_in("client"))
def test_client(name: str) -> None:
    """The client is for other programs: it sees nothing of ours but itself, and only its Twisted half any library."""
    for imported, typing_only in imports_of(name):
        if within(imported, PACKAGE):
            assert within(imported, *ours("client")), imported
        elif imported.partition(".")[0] not in sys.stdlib_module_names:
            assert name in ours("client.twisted", "client.treqing"), imported
            assert typing_only or within(imported, "attrs", "treq", "twisted", "zope"), imported


@pytest.mark.parametrize("name", sorted(set(MODULES) - COMPOSERS))
def test_composition_root(name: str) -> None:
    """Only the composition root sees web and backends together."""
    seen = [imported for imported, _ in imports_of(name)]
    web = [imported for imported in seen if within(imported, *ours("web"))]
    backends = [imported for imported in seen if within(imported, *ours("backends"))]
    assert not (web and backends), (web, backends)


@pytest.mark.parametrize("name", sorted(set(MODULES) - COMPOSERS - set(names_in("demo"))))
def test_no_global_reactor(name: str) -> None:
    """The reactor is given, not taken: nobody but the composition root, and programs of their own, imports it."""
    assert "twisted.internet.reactor" not in {imported for imported, _ in imports_of(name)}


@pytest.mark.parametrize("name", sorted(COMPOSERS))
def test_reactor_not_at_import(name: str) -> None:
    """twistd reads tap.py before a reactor is chosen: the import stands inside a function."""
    assert "twisted.internet.reactor" not in {imported for imported, _ in imports_of(name, top_only=True)}


def test_no_cycles() -> None:
    """No module needs itself to be imported."""
    edges = {
        name: sorted(
            {imported for imported, typing_only in imports_of(name) if imported in MODULES and not typing_only}
        )
        for name in MODULES
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done:
            return
        for following in edges[name]:
            if following != name:
                visit(following, (*trail, name))
        done.add(name)

    for name in sorted(MODULES):
        visit(name, ())
