"""``cco config``: the settings, and where each came from."""

from typing import Any

import click

from cco_sidecar.cli.command import Group
from cco_sidecar.cli.output import emit
from cco_sidecar.cli.service_options import load_settings, service_options


@click.group(cls=Group)
def config() -> None:
    """Show the settings and where each came from."""


@config.command()
@click.option("--origin", is_flag=True, help="Say where each value came from.")
@service_options
def show(origin: bool, **flags: Any) -> None:
    """Show the settings that a sidecar started here and now would have.

    \b
    cco config show --origin
    CCO_SIDECAR_PORT=4000 cco config show --origin
    """
    from cco_sidecar.settings import as_config, origin_of

    settings = load_settings(flags)
    tree = as_config(settings)
    places = {"home": str(settings.home), "config": str(settings.config)}
    if not origin:
        rows = [{"name": name, "value": value} for name, value in _values(tree).items()]
        emit(tree, rows=rows, columns=("name", "value"))
        return
    rows = [
        {"name": name, "value": value, "origin": origin_of(settings, name)}
        for name, value in {**places, **_values(tree)}.items()
    ]
    found = {row["name"]: {"value": row["value"], "origin": row["origin"]} for row in rows}
    emit(found, rows=rows, columns=("name", "origin", "value"))


def _values(tree: Any) -> dict[str, object]:
    """Give the values by their dotted keys, as the config file would have them in two levels."""
    found: dict[str, object] = {}
    for section, value in tree.items():
        leaves = {section: value} if section == "projects" else {f"{section}.{key}": it for key, it in value.items()}
        found |= leaves
    return found
