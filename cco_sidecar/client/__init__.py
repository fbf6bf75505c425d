"""How a program talks to the sidecar: ``Client``, and its calls as functions, configured by an agent's environment.

::

    from cco_sidecar.client import publish_event, wait_for_event

    publish_event("custom_event", "coordination", {"message": "checkpoint"})
    events = wait_for_event("implementation_complete", timeout=30000)

Standard library only, and light to import, each part when it is first used; `cco_sidecar.client.twisted` has the same
for programs with a reactor.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cco_sidecar.client.ambient import (
        acknowledge_message,
        briefing,
        checkpoint,
        claim,
        claim_task,
        complete,
        connect,
        events,
        get_context,
        get_context_markdown,
        get_result,
        heartbeat,
        heartbeats,
        holding,
        list_events,
        list_results,
        load_checkpoint,
        publish_event,
        receive_messages,
        release,
        release_task,
        renew,
        save_checkpoint,
        send_message,
        spawn_agent,
        store_result,
        wait_for_event,
    )
    from cco_sidecar.client.calls import Context
    from cco_sidecar.client.errors import (
        AnswerLost,
        ClaimLost,
        Closed,
        Conflict,
        Failed,
        NotAllowed,
        NotASidecar,
        NotConfigured,
        NotFound,
        RateLimited,
        Refused,
        SidecarError,
        TimedOut,
        Unavailable,
        Unreachable,
    )
    from cco_sidecar.client.keeping import Held
    from cco_sidecar.client.repeating import Repeated
    from cco_sidecar.client.sync import Client
    from cco_sidecar.client.values import Answer, Event
    from cco_sidecar.client.waiting import Events

__all__ = [
    "Answer",
    "AnswerLost",
    "ClaimLost",
    "Client",
    "Closed",
    "Conflict",
    "Context",
    "Event",
    "Events",
    "Failed",
    "Held",
    "NotASidecar",
    "NotAllowed",
    "NotConfigured",
    "NotFound",
    "RateLimited",
    "Refused",
    "Repeated",
    "SidecarError",
    "TimedOut",
    "Unavailable",
    "Unreachable",
    "acknowledge_message",
    "briefing",
    "checkpoint",
    "claim",
    "claim_task",
    "complete",
    "connect",
    "events",
    "get_context",
    "get_context_markdown",
    "get_result",
    "heartbeat",
    "heartbeats",
    "holding",
    "list_events",
    "list_results",
    "load_checkpoint",
    "publish_event",
    "receive_messages",
    "release",
    "release_task",
    "renew",
    "save_checkpoint",
    "send_message",
    "spawn_agent",
    "store_result",
    "wait_for_event",
]

_HOMES = {
    "Answer": "values",
    "Client": "sync",
    "Context": "calls",
    "Event": "values",
    "Events": "waiting",
    "Held": "keeping",
    "Repeated": "repeating",
}
"""Where the classes are; functions are in `ambient`, and all others are errors."""

if not TYPE_CHECKING:  # for a type checker, a module with this would have everything

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = _HOMES.get(name, "ambient" if name.islower() else "errors")
        found = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
