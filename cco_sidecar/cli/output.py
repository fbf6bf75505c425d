"""What goes to stdout, in the format that was asked for; control characters of data never reach a terminal raw."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)  # control characters but tab and line feed, marks that reorder text, halves of characters

_GOOD = {"completed", "done", "healthy", "running", "success", "true"}
_BAD = {"failed", "killed", "lost", "unhealthy", "false"}

Row = Mapping[str, Any]


def visible(text: str) -> str:
    """Show control characters by their number; JSON stays the same JSON."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """Show ``text`` in one line."""
    return visible(" ".join(text.split()) if "\n" in text or "\t" in text else text)


def write(text: str) -> None:
    """Write to stdout at once."""
    stream = sys.stdout
    try:
        stream.write(text)
    except UnicodeEncodeError:
        stream.write(text.encode("ascii", "backslashreplace").decode())
    stream.flush()


def note(text: str) -> None:
    """Say something to the person at the terminal, beside the data."""
    import click

    click.echo(visible(text), err=True)


def is_terminal() -> bool:
    """Say whether a person reads stdout."""
    return sys.stdout.isatty()


def chosen_format() -> str:
    """Give the format that was asked for: table on a terminal, else json."""
    import click

    found = click.get_current_context().meta.get("cco.format")
    return str(found) if found else ("table" if is_terminal() else "json")


def to_json(data: object, indent: int | None = 2) -> str:
    """Give JSON that is safe on a terminal."""
    return visible(json.dumps(data, ensure_ascii=False, indent=indent))


def emit(
    data: object, *, rows: Sequence[Row] | None = None, columns: Sequence[str] = (), text: str | None = None
) -> None:
    """Print ``data``.

    json and yaml print all of it; table and csv print ``rows`` in ``columns`` (without rows: ``data`` itself, a line a
    field), text prints ``text`` where there is one.
    """
    wanted = chosen_format()
    if wanted == "json":
        write(to_json(data) + "\n")
    elif wanted == "yaml":
        write(to_yaml(data))
    elif wanted == "csv":
        found = rows if rows is not None else [_flat(data)]
        write(to_csv(found, columns or list(found[0])))
    elif wanted == "text" and text is not None:
        write((visible(text) if is_terminal() else text).rstrip("\n") + "\n")
    elif rows is None:
        _table([{"name": name, "value": value} for name, value in _flat(data).items()], ("name", "value"), header=False)
    elif rows:
        _table(rows, columns)
    else:
        note("Nothing there.")


def _flat(data: object, start: str = "") -> dict[str, object]:
    """Give the fields of an object, those of objects within it as ``outer.inner``."""
    if not isinstance(data, Mapping):
        return {start or "value": data}
    found: dict[str, object] = {}
    for name, value in data.items():
        key = f"{start}.{name}" if start else str(name)
        found |= _flat(value, key) if isinstance(value, Mapping) and value else {key: value}
    return found


def cell(value: object) -> str:
    """Give a value as it stands in a table."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def to_csv(rows: Iterable[Row], columns: Sequence[str], *, header: bool = True) -> str:
    """Give CSV with LF line ends."""
    import csv
    import io

    found = io.StringIO()
    writer = csv.writer(found, lineterminator="\n")
    if header:
        writer.writerow(columns)
    writer.writerows([cell(row.get(column)) for column in columns] for row in rows)
    return visible(found.getvalue()) if is_terminal() else found.getvalue()


def to_yaml(data: object) -> str:
    """Give YAML that is safe on a terminal."""
    import yaml

    is_safe = not _UNSAFE.search(json.dumps(data, ensure_ascii=False))
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=is_safe))


def _table(rows: Sequence[Row], columns: Sequence[str], *, header: bool = True) -> None:
    import click
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=header, header_style="bold")
    on_terminal = is_terminal()
    for column in columns:
        table.add_column(Text(one_line(column.replace("_", " ").upper())), overflow="fold", no_wrap=not on_terminal)
    for row in rows:
        texts = [one_line(cell(row.get(column))) for column in columns]
        table.add_row(*(Text(text, style=_style(text)) for text in texts))
    is_plain = bool(click.get_current_context().meta.get("cco.no_color")) or not on_terminal
    console = Console(
        file=sys.stdout,
        color_system=None if is_plain else "auto",
        force_terminal=on_terminal,
        width=None if on_terminal else 1 << 16,  # a program reads lines, however long
        highlight=False,
    )
    with console.capture() as captured:
        console.print(table)
    write("\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")


def _style(text: str) -> str:
    if text in _GOOD:
        return "green"
    return "red" if text in _BAD else ""
