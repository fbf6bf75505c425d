"""What users install: the built wheel, in an environment that has nothing else, away from the checkout."""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from cco_sidecar import __version__
from cco_sidecar.backends.gatherer.grammars import GRAMMARS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "cco_sidecar"
UNWANTED = (".git", ".venv", ".tox", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")

pytestmark = pytest.mark.timeout(400)


def run(command: Sequence[str | Path], cwd: Path, seconds: float = 240, **environment: str) -> str:
    """Run a program in a clean environment, away from the checkout; gives what it wrote."""
    kept = {name: os.environ[name] for name in os.environ if not name.startswith(("CCO_", "PYTHON", "VIRTUAL_ENV"))}
    ran = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={
            **kept,
            "HOME": str(cwd),
            "XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME", _config_home()),
            **environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert ran.returncode == 0, f"{command} ended with {ran.returncode}:\n{ran.stdout}"
    return ran.stdout


def _config_home() -> str:
    """Where pip looks for its settings, although HOME is another."""
    return str(Path.home() / ".config")


def pip(python: Path | str, *arguments: str | Path, cwd: Path) -> str:
    """Run pip for an environment, which need not have one, with this user's cache."""
    cache = os.environ.get("PIP_CACHE_DIR", str(Path.home() / ".cache" / "pip"))
    options = ["--quiet", "--disable-pip-version-check", "--no-input"]
    return run([sys.executable, "-m", "pip", "--python", python, *options, *arguments], cwd, PIP_CACHE_DIR=cache)


def make_environment(directory: Path) -> Path:
    """Make an empty environment; gives its directory of programs."""
    venv.create(directory, with_pip=False, symlinks=True)
    return directory / "bin"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Go on only where pip finds packages at all."""
    directory = tmp_path_factory.mktemp("index")
    try:
        pip(sys.executable, "download", "--no-deps", "--dest", ".", "attrs", cwd=directory)
    except AssertionError as error:
        pytest.skip(f"no package index can be reached: {str(error).splitlines()[-1]}")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the checkout, without what was made in it."""
    copy = tmp_path_factory.mktemp("tree") / "cco-sidecar"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*UNWANTED), symlinks=True)
    return copy


@pytest.fixture(scope="module")
def dist(tree: Path, index: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build sdist and wheel, the wheel from the sdist."""
    directory = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--outdir", directory, tree], directory)
    return directory


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """Give the wheel."""
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel and what it asks for, and nothing else; gives the directory of programs."""
    directory = tmp_path_factory.mktemp("bare")
    programs = make_environment(directory / "environment")
    pip(programs / "python", "install", "--no-compile", wheel, cwd=directory)
    return programs


def test_the_wheel_has_all_that_runs_and_no_tests(wheel: Path) -> None:
    """Modules, plugin, data and type marker are in; nothing else is."""
    names = zipfile.ZipFile(wheel).namelist()
    modules = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts}
    assert modules <= set(names)
    data = {"roster.json", "runners.json"}
    assert {f"cco_sidecar/data/{name}" for name in data} | {"cco_sidecar/py.typed"} <= set(names)
    assert "twisted/plugins/cco_sidecar_plugin.py" in names
    assert any(name.startswith("cco_sidecar/demo/") for name in names)
    beginnings = ("cco_sidecar/", "twisted/plugins/cco_sidecar_plugin.py", f"cco_sidecar-{__version__}.dist-info/")
    assert [name for name in names if not name.startswith(beginnings)] == []
    assert not {"twisted/__init__.py", "twisted/plugins/__init__.py"} & set(names)


def test_the_sdist_can_be_worked_with(dist: Path) -> None:
    """Tests, documents and tools are in the sdist."""
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"Makefile", "tox.ini", "pytest.ini", "tests/conftest.py", "docs/quickstart.md", "CHANGELOG.md", ".ci/run"}
    assert wanted <= names


def test_the_installed_programs_run_away_from_the_checkout(bare: Path, tmp_path: Path) -> None:
    """What is declared suffices: versions, help and the plugin come from the environment alone."""
    assert pip(bare / "python", "check", cwd=tmp_path).strip() in {"", "No broken requirements found."}
    assert run([bare / "cco", "--version"], tmp_path).strip() == f"cco {__version__}"
    assert "--project-root" in run([bare / "twistd", "cco-sidecar", "--help"], tmp_path)
    assert f"cco-sidecar {__version__}" in run([bare / "twistd", "cco-sidecar", "--version"], tmp_path)
    where = run([bare / "python", "-c", "import cco_sidecar; print(cco_sidecar.__file__)"], tmp_path)
    assert str(bare.parent) in where


def test_the_installed_demo_shows_everything(bare: Path, tmp_path: Path) -> None:
    """The demo needs nothing but the wheel."""
    output = run([bare / "cco", "demo"], tmp_path, seconds=90, PATH=f"{bare}:{os.environ['PATH']}")
    assert "agent_completed" in output


def test_an_editable_install_shows_the_plugin(tree: Path, index: None, tmp_path: Path) -> None:
    """After ``pip install -e .`` twistd finds the plugin: setup.cfg asks for the form in which it does."""
    programs = make_environment(tmp_path / "environment")
    (ours,) = {Path(path) for path in sys.path if path.endswith("site-packages") and Path(path, "twisted").is_dir()}
    (theirs,) = (tmp_path / "environment" / "lib").glob("python*/site-packages")
    (theirs / "dependencies.pth").write_text(f"{ours}\n")
    pip(programs / "python", "install", "--no-compile", "--no-deps", "--editable", tree, cwd=tmp_path)
    twistd = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
    assert re.search(r"^\s+cco-sidecar\s", run([programs / "python", "-c", twistd, "--help"], tmp_path), re.MULTILINE)
    assert run([programs / "cco", "--version"], tmp_path).strip() == f"cco {__version__}"


def imported(directory: Path) -> Iterator[str]:
    """Name the packages that the modules below a directory import, those of Python and our own left out."""
    for path in directory.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            yield from ({name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"cco_sidecar"})


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    """Neither a dependency that is missing from setup.cfg, nor one that nothing uses."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].split("\n")
    declared = {_plain(re.split(r"[\[ <>=]", line)[0]) for line in lines if line.strip()}
    found = packages_distributions()
    loaded_by_name = {grammar.module for grammar in GRAMMARS.values()}
    used = {module: {_plain(name) for name in found[module]} for module in {*imported(PACKAGE), *loaded_by_name}}
    assert [module for module, names in used.items() if not names & declared] == []
    assert declared - set().union(*used.values()) == set()


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
