"""What is said to whoever does not get a claim: who has it, since when, until when, and what to do instead."""

from cco_sidecar.core.claims.entry import Entry
from cco_sidecar.core.claims.queue import Obstacles, Pair
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import Claimed, NotFound

SHOWN_CONFLICTS = 16
WAY_OUT = "Do other work first, ask that agent, or claim it with wait=60000 (milliseconds) to get it in your turn."


def claimed(obstacles: Obstacles) -> Claimed:
    """Make the refusal of a claim that others stand in the way of; there is one at least."""
    first, *_ = found = _shown(obstacles)
    return Claimed(f"{_sentence(first)} {WAY_OUT}", **{**first, "conflicts": found})


def deadlock(obstacles: Obstacles) -> Claimed:
    """Make the refusal of a wait that could not end: what it waits for waits for what the one who asks holds."""
    first, *_ = found = _shown(obstacles)
    why = "That agent waits for what you have claimed: release that first, then ask again."
    return Claimed(f"{_sentence(first)} {why}", **{**first, "conflicts": found, "deadlock": True})


def gone(claim_id: str) -> NotFound:
    """Make the refusal of a claim that is not there."""
    return NotFound(f"There is no claim '{claim_id}': it was released, or its time was up. Claim again.")


def _shown(obstacles: Obstacles) -> list[dict[str, object]]:
    # Held ones first: it is those that can be asked for.
    pairs = sorted(obstacles.found.items(), key=lambda pair: (not pair[0].is_held, pair[0].number))
    return [_conflict(entry, pair) for entry, pair in pairs[:SHOWN_CONFLICTS]]


def _conflict(entry: Entry, pair: Pair) -> dict[str, object]:
    holder, record = entry.wish.holder, entry.record
    return {
        "wanted": pair[0].text,
        "resource": pair[1].text,
        "claim_id": entry.id,
        "state": "waiting" if record is None else "held",
        "mode": entry.wish.mode,
        "agent_id": holder.agent_id,
        "agent_type": holder.agent_type,
        "issue_id": holder.issue_id,
        "since": rfc3339(entry.since if record is None else record.since),
        "until": None if record is None else rfc3339(record.expires_at),
    }


def _sentence(conflict: dict[str, object]) -> str:
    who = f"'{conflict['agent_id']}' ({conflict['agent_type']}, {conflict['issue_id'] or 'no issue'})"
    wanted, theirs = conflict["wanted"], conflict["resource"]
    what = f"'{wanted}'" if wanted == theirs else f"'{wanted}' conflicts with '{theirs}', which"
    if conflict["state"] == "waiting":
        return f"{what} is waited for by {who} since {conflict['since']}, whose turn is before yours."
    return f"{what} is claimed by {who} since {conflict['since']}, until {conflict['until']} at the latest."
