"""The documents tell the truth: their examples run, their links lead somewhere, and nothing is left out."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast
from unittest.mock import MagicMock

import click
import pytest

from cco_sidecar import runfile
from cco_sidecar.cli.command import FORMATS
from cco_sidecar.cli.root import cli
from cco_sidecar.settings_schema import OPTIONS
from cco_sidecar.web.errors import STATUS
from cco_sidecar.web.root import APIs, route_table
from tests.docs.examples import RUN, SHOWN, Example, Stage, answers, differences, examples, script

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
START_THEMSELVES = {"README.md", "quickstart.md"}
WITH_EXAMPLES = [path for path in DOCUMENTS if any(example.kind in RUN for example in examples(path))]
NAMES = [path.name for path in DOCUMENTS]
FILES = {
    "README.md": "# Shop\n\nPrices and orders.\n",
    "shop.py": '"""Prices."""\n\n\ndef price(count: int) -> int:\n    """What so many cost."""\n    return 2 * count\n',
    "tests/test_shop.py": "from shop import price\n\n\ndef test_price() -> None:\n    assert price(2) == 4\n",
    "requirements.txt": "attrs==26.1.0\n",
    ".gitignore": "build/\n",
}


def free_port() -> int:
    """Find a port that nobody has."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Make a home with a small git repository in ~/src/shop; whatever sidecar is left there is killed."""
    found = Stage(tmp_path, free_port(), free_port())
    for name in ("out", "tmp", "var/lib", "src/shop/tests"):
        (tmp_path / name).mkdir(parents=True)
    shop = tmp_path / "src" / "shop"
    for name, text in FILES.items():
        (shop / name).write_text(text)
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "A shop"]):
        subprocess.run(["git", *command], cwd=shop, env=environment(found), check=True)
    yield found
    for entry in runfile.running(tmp_path / ".cco"):
        os.kill(entry.pid, 9)


def environment(stage: Stage) -> dict[str, str]:
    """Give a user's environment: their home, their port, and nothing of this process's settings."""
    person = {f"GIT_{who}_{what}": "shop@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {
        **person,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(stage.directory),
        "LANG": "C.UTF-8",
        "CCO_SIDECAR_PORT": str(stage.port),
        "CCO_SIDECAR_STORAGE": str(stage.directory / "tmp" / "cco-sidecar"),
    }


@pytest.mark.timeout(180)
@pytest.mark.parametrize("document", WITH_EXAMPLES, ids=lambda path: path.name)
def test_examples_run(document: Path, stage: Stage) -> None:
    """Every example runs as it stands, on a sidecar of its own, and answers as is shown."""
    found = list(examples(document))
    strange = [f"{document.name}:{one.line}: ```{one.kind}" for one in found if one.kind not in RUN | SHOWN]
    assert strange == [], "no such kind of example"
    to_run = [one for one in found if one.kind in RUN]
    _need_programs(to_run)
    begin = "" if document.name in START_THEMSELVES else "cco daemon start > /dev/null\n"
    ran = subprocess.run(
        ["bash", "-c", f"{begin}{script(found, stage)}"],
        cwd=stage.directory / "src" / "shop",
        env=environment(stage),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    at = stage.out / "at"
    where = f"{document.name}:{at.read_text().strip() if at.exists() else 0}"
    assert ran.returncode == 0, f"{where} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}{_output_at(stage)}"
    wrong = [
        f"{document.name}:{example.line}: {what}"
        for example, shown, got in answers(found, stage)
        for what in differences(shown, got)
    ]
    assert wrong == []


def _need_programs(found: list[Example]) -> None:
    text = "\n".join(example.text for example in found if example.kind == "bash")
    for program in ("curl", "jq", "lsof"):
        if re.search(rf"\b{program}\b", text) and shutil.which(program) is None:
            pytest.skip(f"{program} is not installed here")


def _output_at(stage: Stage) -> str:
    at = stage.out / "at"
    output = stage.out / f"{at.read_text().strip()}.out" if at.exists() else None
    return output.read_text() if output is not None and output.exists() else ""


def test_few_examples_are_left_out() -> None:
    """What is not run is the exception."""
    kinds = [example.kind for document in DOCUMENTS for example in examples(document)]
    assert kinds.count("bash notest") <= 12
    assert kinds.count("bash") >= 80


def slug(heading: str) -> str:
    """Give the anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def prose(document: Path) -> str:
    """Give the text of a document without its examples."""
    return re.sub(r"^(`{3,}).*?^\1$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link names a file that is there, and a heading in it."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        headings = re.findall(r"^#+ (.*)$", prose(file), re.MULTILINE) if file.suffix == ".md" and file.exists() else []
        if not file.exists() or (anchor and anchor not in {slug(heading) for heading in headings}):
            dead.append(target)
    assert dead == []


def test_every_document_is_linked_from_the_readme() -> None:
    """Nobody has to know that a document is there."""
    readme = (ROOT / "README.md").read_text()
    assert [path.name for path in DOCUMENTS[1:] if path.name not in readme] == []


def test_every_route_is_documented() -> None:
    """api.md has each line of the route table, and nothing that is not there."""
    text = (ROOT / "docs" / "api.md").read_text()
    routes = {
        f"{route.method} {route.path.replace('<', '{').replace('>', '}')}"
        for route in route_table(cast(APIs, MagicMock()))
    }
    headings = set(re.findall(r"^### `((?:GET|POST|PUT|DELETE) [^`]*)`$", text, re.MULTILINE))
    assert headings == routes


def test_every_code_is_documented() -> None:
    """api.md has each code that a refusal can have."""
    text = (ROOT / "docs" / "api.md").read_text()
    assert [kind.code for kind in STATUS if f"`{kind.code}`" not in text] == []


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Give every command that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    if command.invoke_without_command:
        yield path, command
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from commands(below, f"{path} {name}")


def test_every_command_and_option_is_documented() -> None:
    """cli.md shows each command in an example, and names each of its options."""
    document = ROOT / "docs" / "cli.md"
    run = "\n".join(example.text for example in examples(document) if example.kind.startswith("bash"))
    text = document.read_text()
    missing = []
    for path, command in commands(cli, "cco"):
        if not re.search(rf"(?<!\w){re.escape(path)}(?![\w-])", run):
            missing.append(path)
        for parameter in command.params:
            names = [name for name in parameter.opts if name.startswith("--")]
            missing += [f"{path} {name}" for name in names[:1] if not re.search(rf"{name}(?![\w-])", text)]
    assert missing == []
    assert [name for name in FORMATS if f"`{name}`" not in text] == []


def test_every_setting_is_documented() -> None:
    """configuration.md has each key with its option, variable and default."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    missing = []
    for option in OPTIONS:
        wanted = [f"`{option.key}`", *((f"`{option.flag}`", f"`{option.variable}`") if option.variable else ())]
        if isinstance(option.default, str | int):
            wanted.append(f"`{json.dumps(option.default) if isinstance(option.default, bool) else option.default}`")
        line = next((line for line in text.splitlines() if line.startswith("|") and wanted[0] in line), "")
        missing += [f"{option.key}: {word}" for word in wanted if word not in line]
    assert missing == []
