"""A stored result, as far as other agents need to know it."""

from typing import Any

import msgspec

from cco_sidecar.core.context.request import PreviousOutput


class _Decided(msgspec.Struct):
    decisions: Any = None
    files_affected: Any = None
    files_modified: Any = None


class _Stored(msgspec.Struct):
    id: str
    agent_id: str
    agent_type: str
    status: str
    timestamp: str
    result: _Decided


def output_of(text: bytes) -> PreviousOutput:
    """Read a stored result as far as others need it.

    :raises msgspec.MsgspecError: it is damaged, or was made by hand.
    """
    stored = msgspec.json.decode(text, type=_Stored)
    files = stored.result.files_affected or stored.result.files_modified
    decisions = stored.result.decisions
    return PreviousOutput(
        agent=stored.agent_id,
        agent_type=stored.agent_type,
        timestamp=stored.timestamp,
        status=stored.status,
        decisions=decisions if isinstance(decisions, list) else [] if decisions is None else [decisions],
        files_affected=[path for path in files if isinstance(path, str)] if isinstance(files, list) else [],
        result_id=stored.id,
    )
