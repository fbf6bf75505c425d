"""The examples of a Markdown document, and the shell script that runs them in order.

What stands behind the language of a fence says how an example is run:

- ``bash``: as it stands, all of a document in one shell; the first command that fails, fails the test.
- ``bash forever``: a command that does not end; it is ended once it listens, or has said something.
- ``python``: as it stands; ``python file=NAME`` (or ``json file=``) is saved under that name for a later example.
- ``json answer``: what the ``bash`` example before it prints has the same keys.
- ``json config``: is taken as a config file.
- ``bash notest`` is shown only; so is every other language.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

FENCE = re.compile(r"^(`{3,})(.*)$")
RUN = {"bash", "bash forever", "python", "python file", "json file", "json answer", "json config"}
SHOWN = {"bash notest", "text", "mermaid", "ini", "nginx", "yaml", "toml"}


@frozen
class Example:
    """A fenced block; ``line`` is where it begins, ``kind`` its language and the word behind it."""

    line: int
    kind: str
    file: str
    text: str


def examples(document: Path) -> Iterator[Example]:
    """Give a document's fenced blocks in order."""
    fence, begin, info, lines = "", 0, "", list[str]()
    for number, line in enumerate(document.read_text().splitlines(), 1):
        found = FENCE.match(line)
        if not fence and found:
            fence, begin, info, lines = found[1], number, found[2].strip(), []
        elif fence and line.strip() == fence:
            kind, _, file = info.partition("=")
            yield Example(begin, kind, file, "\n".join(lines) + "\n")
            fence = ""
        elif fence:
            lines.append(line)
    assert not fence, f"{document.name}:{begin}: the block is not closed"


@frozen
class Stage:
    """Where examples are run: ``directory`` is all of the world that they may touch."""

    directory: Path
    port: int
    other_port: int

    @property
    def out(self) -> Path:
        """Where each example's output goes."""
        return self.directory / "out"

    def play(self, text: str) -> str:
        """Put the stage in place of what an example names: ports and directories of a user's machine."""
        text = re.sub(r"\b(localhost|127\.0\.0\.1):3001\b", rf"\1:{self.port}", text)
        text = re.sub(r"(--port[ =]|:)3001\b", rf"\g<1>{self.port}", text)
        text = re.sub(r"(--port[ =]|:)4000\b", rf"\g<1>{self.other_port}", text)
        return re.sub(r"(?<![\w.~/-])/(tmp|var/lib)\b", rf"{self.directory}/\1", text)


def script(found: list[Example], stage: Stage) -> str:
    """Make the script that runs the examples of one document; ``at`` says where it was when it failed."""
    parts = [_BEGIN]
    for example in found:
        if example.kind in RUN and example.kind != "json answer":
            parts.append(f"echo {example.line} > {shlex.quote(str(stage.out / 'at'))}")
            parts.append(_part(example, stage))
    return "\n".join(parts)


_BEGIN = r"""set -euo pipefail
until_said() {
    for _ in $(seq 600); do grep -q -- "$2" "$1" && return; kill -0 "$3" 2> /dev/null || break; sleep 0.05; done
    cat "$1" >&2; return 1
}
ended_well() {
    local code=0
    wait "$1" || code=$?
    [ $code = 0 ] || [ $code = 143 ]
}
"""


def _part(example: Example, stage: Stage) -> str:
    output = shlex.quote(str(stage.out / f"{example.line}.out"))
    text = stage.play(example.text)
    if example.kind == "bash":
        return f"{{\n{text}}} > {output}"
    if example.kind == "bash forever":
        return _forever(text, output, stage.directory / f"storage-{example.line}")
    if example.kind == "json config":
        file = shlex.quote(str(stage.out / f"{example.line}.json"))
        return f"cat > {file} <<'END_OF_EXAMPLE'\n{text}END_OF_EXAMPLE\ncco config show --config {file} > {output}"
    if example.kind.endswith(" file"):
        return f"cat > {shlex.quote(example.file)} <<'END_OF_EXAMPLE'\n{text}END_OF_EXAMPLE"
    return f"python3 - > {output} <<'END_OF_EXAMPLE'\n{text}END_OF_EXAMPLE"


def _forever(text: str, output: str, storage: Path) -> str:
    serves = "orchestration-server" in text or "twistd" in text
    # A second sidecar must not want what the document's own has.
    setting = f"CCO_SIDECAR_PORT=0 CCO_SIDECAR_STORAGE={shlex.quote(str(storage))} " if serves else ""
    words = "listens on" if serves else "."
    return "\n".join(
        (
            f"{setting}bash -c {shlex.quote('exec ' + text.strip())} > {output} 2>&1 &",
            f"until_said {output} {shlex.quote(words)} $!",
            "kill $!",
            "ended_well $!",
        )
    )


def answers(found: list[Example], stage: Stage) -> Iterator[tuple[Example, Any, Any]]:
    """Give each ``json answer`` with what it shows and what was answered."""
    before: Example | None = None
    for example in found:
        if example.kind == "bash":
            before = example
        elif example.kind == "json answer":
            assert before is not None, f"line {example.line}: no example comes before this answer"
            printed = (stage.out / f"{before.line}.out").read_text()
            yield example, json.loads(example.text), json.loads(printed)


def differences(shown: Any, got: Any, path: str = "$") -> Iterator[str]:
    """Say which keys an answer has too few or too many; of a list, the first elements are compared."""
    if isinstance(shown, Mapping) and isinstance(got, Mapping):
        yield from (f"{path}.{key} is shown, but not answered" for key in shown.keys() - got.keys())
        yield from (f"{path}.{key} is answered, but not shown" for key in got.keys() - shown.keys())
        for key in shown.keys() & got.keys():
            yield from differences(shown[key], got[key], f"{path}.{key}")
    elif isinstance(shown, list) and isinstance(got, list):
        if shown and got:
            yield from differences(shown[0], got[0], f"{path}[0]")
    elif shown is not None and got is not None and _kind(shown) != _kind(got):
        yield f"{path} is shown as {_kind(shown)}, but answered as {_kind(got)}"


def _kind(value: object) -> str:
    return "number" if isinstance(value, float | int) and not isinstance(value, bool) else type(value).__name__
