"""Who holds something, and how long that can last: what an agent holds ends with the agent at the latest."""

import math
from collections.abc import Callable

import msgspec
from attrs import define

from cco_sidecar.core.token_book import TokenBook
from cco_sidecar.core.tokens import ADMIN, Claims


class Holder(msgspec.Struct, frozen=True):
    """An agent, and the token by which it came to hold something; the admin has no issue.

    :param token_exp: when the token ends, in seconds since the epoch.
    """

    agent_id: str
    agent_type: str
    issue_id: str | None
    token_id: str
    token_exp: float


def holder_of(claims: Claims) -> Holder:
    """Make a holder of who asks."""
    issue_id = None if claims.is_admin else claims.issue_id
    return Holder(claims.sub, claims.agent_type, issue_id, claims.jti, claims.exp)


@define(eq=False)
class Tenure:
    """Says until when a holder can hold.

    An agent that was started here lives as long as its process. Of any other nothing is known but its token: it lives
    as long as that, or one that followed it, is good. The admin does not end.

    :param started_here: whether the sidecar watches over the agent's process.
    :param is_gone: whether such an agent has ended.
    """

    _tokens: TokenBook
    _started_here: Callable[[str], bool]
    _is_gone: Callable[[str], bool]

    def until(self, holder: Holder) -> float | None:
        """Give a time until which the holder certainly can hold (then ask again); None if it cannot any more."""
        if holder.agent_id == ADMIN:
            return math.inf
        if self._started_here(holder.agent_id):
            return None if self._is_gone(holder.agent_id) else math.inf
        return self._tokens.good_until(holder.token_id, holder.token_exp)
