"""The accounts that agents work for, over HTTP: which are parked, and to try one of them now."""

import msgspec
from attrs import define

from cco_sidecar.core.account_watch import Account, AccountWatch
from cco_sidecar.core.times import rfc3339
from cco_sidecar.web.codec import Reply
from cco_sidecar.web.routing import Call, ProjectQuery, audit


class AccountLine(msgspec.Struct):
    """An account as it is now; ``probe`` is the agent that tries whether it works again."""

    account: str
    state: str
    running: int
    waiting: int
    parked: int
    failure: str | None = None
    reason: str | None = None
    since: str | None = None
    until: str | None = None
    tries: int = 0
    probe: str | None = None
    what_to_do: str | None = None


class AccountsAnswer(msgspec.Struct):
    """Every account that agents run or wait for."""

    accounts: list[AccountLine]


@define(eq=False)
class ModelAccountsAPI:
    """Parse, delegate, encode."""

    _watch: AccountWatch

    async def list(self, call: Call[ProjectQuery, None]) -> Reply:
        """List the accounts."""
        return Reply(AccountsAnswer([_line(each) for each in self._watch.listing()]))

    async def resume(self, call: Call[ProjectQuery, None]) -> Reply:
        """Let one agent of an account try now."""
        account = self._watch.resume(call.path["account"])
        audit(call.request, "account resumed", target=account.name)
        return Reply(_line(account))


def _line(account: Account) -> AccountLine:
    line = AccountLine(account.name, account.state, account.running, account.waiting, account.parked)
    found = account.breaker
    if found is None:
        return line
    return msgspec.structs.replace(
        line,
        failure=found.failure,
        reason=found.reason or None,
        since=rfc3339(found.opened_at),
        until=rfc3339(found.until),
        tries=found.tries,
        probe=found.probe,
        what_to_do=found.what_to_do,
    )
