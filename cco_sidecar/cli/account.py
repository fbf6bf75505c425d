"""``cco account``: the accounts that agents work for, and to try one of them again."""

import click

from cco_sidecar.cli.command import Group
from cco_sidecar.cli.output import emit, is_terminal, note
from cco_sidecar.cli.sidecar import current, route

_COLUMNS = ("account", "state", "failure", "until", "probe", "running", "waiting", "parked", "what_to_do")


@click.group(cls=Group)
def account() -> None:
    """See the accounts that agents work for, and try one again.

    An account is parked when its limit is used up, its login has expired, or the model's servers are overloaded: its
    agents wait, and go on by themselves when it is over.
    """


@account.command("list")
def list_accounts() -> None:
    """List the accounts that agents run or wait for.

    \b
    cco account list
    """
    answer = current().get(route("api", "accounts"))
    emit(answer, rows=answer["accounts"], columns=_COLUMNS)


@account.command()
@click.argument("name", metavar="NAME")
def resume(name: str) -> None:
    """Try now whether an account works again.

    One agent starts; when the model has answered it, the others follow. Do this after you have logged in again.

    \b
    cco account resume login-3f9a1c2b44
    """
    answer = current().post(route("api", "accounts", name, "resume"), None)
    emit(answer)
    if is_terminal() and answer["state"] == "half_open" and answer["probe"] is None:
        note("No agent waits for it: the next one that is spawned tries.")
