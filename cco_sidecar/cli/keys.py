"""``cco keys``: change the keys that sign tokens."""

import click

from cco_sidecar.cli.command import Group
from cco_sidecar.cli.output import emit
from cco_sidecar.cli.sidecar import current, route


@click.group(cls=Group)
def keys() -> None:
    """Change the keys that sign tokens."""


@keys.command()
@click.option("--revoke", is_flag=True, help="End all tokens of older keys now: a key, or a token, has leaked.")
def rotate(revoke: bool) -> None:
    """Sign tokens with a new key from now on; nobody notices.

    The old key still verifies until the last token that it signed is over. With --revoke it is removed at once:
    agents that the sidecar started find a new token in their files, tokens issued by hand are dead.

    \b
    cco keys rotate
    cco keys rotate --revoke
    """
    emit(current().post(route("api", "keys", "rotate"), {"revoke": revoke}))
