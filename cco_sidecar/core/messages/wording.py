"""Messages in words, for a model: what the answer to an agent's call carries beside what it asked for."""

from collections.abc import Sequence

import msgspec

from cco_sidecar.core.context.page import first_lines, inline_code, plain_text
from cco_sidecar.core.messages.message import Delivery
from cco_sidecar.core.secrets.redacting import redact

MOST_BYTES = 4096
"""So much of a message's body is told; the rest is there to be asked for."""


def worded(deliveries: Sequence[Delivery]) -> str:
    """Give the messages as text: who says what, and what the sender wants to hear; secrets are replaced."""
    many = "A message" if len(deliveries) == 1 else f"{len(deliveries)} messages"
    return f"{many} for you, beside what you asked for:\n\n" + "\n".join(map(_one, deliveries))


def _one(delivery: Delivery) -> str:
    record = delivery.record
    body = msgspec.json.decode(record.body)
    text = redact(plain_text(body if isinstance(body, str) else msgspec.json.encode(body).decode("utf-8", "replace")))[
        0
    ]
    said = first_lines(text, MOST_BYTES)
    rest = f"\n(cut: cco msg trace {record.id} shows all of it)" if len(said) < len(text) else ""
    wish = f"\nSay when it is done: cco msg done {record.id}" if record.ack else ""
    sender = f"{inline_code(record.sender.agent_id)} ({record.sender.agent_type})"
    return f"{record.kind} from {sender}, {inline_code(record.id)}: {said}{rest}{wish}\n"
