"""The form of a result's file: one JSON object."""

import msgspec


class ResultHead(msgspec.Struct):
    """What must stand in a result's file."""

    id: str
    agent_id: str
    agent_type: str
    issue_id: str
    project_id: str
    status: str
    timestamp: str
    result: msgspec.Raw
