"""What a model is told by a hook: plain sentences, and always what to do next.

A model that hears the same refusal again and again tends to try again and again. So the advice changes with each try.
"""

from collections.abc import Sequence

from cco_sidecar.core.briefing import Facts
from cco_sidecar.core.claims.entry import ClaimRecord
from cco_sidecar.core.times import rfc3339

LAST_TRY = 3
"""From this denial on it is said that trying is of no use, and the others hear of it."""

NO_RESULT = (
    "You have not stored a result yet, and what is not stored nobody after you knows. Call the tool store_result of "
    "the MCP server cco with {'status': 'success' | 'partial' | 'failed', 'decisions': […], 'files_affected': […]} and "
    "a summary; then end. If there is nothing to report, just end: you are held back this once only."
)


def denied(name: str, record: ClaimRecord, tries: int, now: float) -> str:
    """Say why a file may not be edited, and what to do instead, which depends on how often that was said before."""
    holder = record.holder
    who = f"'{holder.agent_id}' ({holder.agent_type}, {holder.issue_id or 'no issue'})"
    what = f"as '{record.resources[0]}'" if record.resources != [name] else ""
    left = max(1, round((record.expires_at - now) / 60))
    head = (
        f"'{name}' is claimed {what + ' ' if what else ''}by {who} since {rfc3339(record.since)}, until "
        f"{rfc3339(record.expires_at)} at the latest (in {left} min, and longer if it goes on)."
    )
    return f"{head} {_advice(name, holder.agent_id, tries)}"


def _advice(name: str, holder: str, tries: int) -> str:
    if tries == 1:
        return (
            "Nothing was changed. Do other work first; or wait for your turn with the tool claim of the MCP server "
            f"cco: {{'resource': '{name}', 'wait': 60000}} answers when it is yours."
        )
    if tries < LAST_TRY:
        return (
            "It will not help to try again before that. Ask the holder, in a shell: "
            f"cco msg send {holder} 'I need {name}: please release it, or tell me when you are done.' --kind request. "
            "Then go on with something else; the answer comes beside the result of one of your tool calls."
        )
    return (
        f"This was try {tries}, and the others have been told that you need it. Do not try this edit again, nor write "
        "the file in another way: that would destroy the holder's work. Leave this part out: go on with other files, "
        "or write down with checkpoint what has to be changed in it, and store_result with the status 'partial', which "
        "names the file, the holder and the change."
    )


def changed(name: str, editor: tuple[str, float] | None, is_gone: bool) -> str:
    """Say that a file is not as the agent knows it."""
    who = "" if editor is None else f" by '{editor[0]}' at {rfc3339(editor[1])}"
    if is_gone:
        return (
            f"'{name}' was removed{who} after you read it. Nothing was changed. Find out why before you write it again "
            "(git log, or ask the agent); the same edit goes through if you insist."
        )
    return (
        f"'{name}' was changed{who} after you read it, so this edit is made for a text that is no more. Nothing was "
        "changed. Read it again, and make the edit that fits what is there now."
    )


def wanted_by(messages: str, asks_for_result: bool) -> str:
    """Say why an agent is held back."""
    parts = [messages + "\nSee to it before you end." if messages else "", NO_RESULT if asks_for_result else ""]
    return "\n\n".join(part for part in parts if part)


def before_compaction(facts: Facts) -> str:
    """Say what a summary must keep, and ask for a checkpoint, which no summary can lose."""
    you = f"'{facts.agent_id}' ({facts.agent_type}) on the issue '{facts.issue_id}'"
    kept = "what you were asked for; what is done, what is next, what was decided and why"
    lines = [f"Keep in the summary: you are the agent {you}; {kept}."]
    if facts.claims:
        lines.append(f"You have claimed: {_listed([text for claim in facts.claims for text in claim.resources])}.")
    if facts.tasks:
        lines.append(f"You have taken the tasks: {_listed([task.id for task in facts.tasks])}.")
    lines.append(
        f"Right after the summary, call the tool checkpoint of the MCP server cco with {_CHECKPOINT} ({_age(facts)}), "
        "then briefing."
    )
    return " ".join(lines)


_CHECKPOINT = "{'checkpoint': {'next_step': …, 'done': […], 'decisions': […], 'questions': […]}}"


def after_compaction(facts: Facts) -> str:
    """Ask for a checkpoint where an agent has just forgotten most of what it knew."""
    return (
        "Your context was just compacted; what follows is what the sidecar knows of your work. Before you go on, write "
        f"down what you still know: checkpoint {_CHECKPOINT} ({_age(facts)})."
    )


def _age(facts: Facts) -> str:
    if facts.checkpoint is None:
        return "you have none yet"
    minutes = max(0, round((facts.at - facts.checkpoint.at) / 60))
    return f"yours is {minutes} min old"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
