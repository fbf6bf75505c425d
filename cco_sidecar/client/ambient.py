"""The calls as functions, on one client for the whole process, made from its environment when it is first needed."""

import threading
from collections.abc import Callable
from functools import update_wrapper
from typing import Concatenate, ParamSpec, TypeVar

from cco_sidecar.client.sync import Client

P = ParamSpec("P")
T = TypeVar("T")

_lock = threading.Lock()
_clients: list[Client] = []


def connect() -> Client:
    """Give the process's client, made of its environment (``SIDECAR_URL``, ``JWT_TOKEN``, …) at the first call.

    :raises NotConfigured: the environment has no token.
    """
    with _lock:
        if not _clients or _clients[-1].is_closed:
            _clients[:] = [Client()]
        return _clients[-1]


def _ambient(method: Callable[Concatenate[Client, P], T]) -> Callable[P, T]:
    def function(*args: P.args, **kwargs: P.kwargs) -> T:
        return method(connect(), *args, **kwargs)

    update_wrapper(function, method)
    del function.__dict__["__wrapped__"]  # whose signature has one parameter more
    return function


publish_event = _ambient(Client.publish_event)
wait_for_event = _ambient(Client.wait_for_event)
events = _ambient(Client.events)
list_events = _ambient(Client.list_events)
get_context = _ambient(Client.get_context)
get_context_markdown = _ambient(Client.get_context_markdown)
store_result = _ambient(Client.store_result)
list_results = _ambient(Client.list_results)
get_result = _ambient(Client.get_result)
spawn_agent = _ambient(Client.spawn_agent)
heartbeat = _ambient(Client.heartbeat)
heartbeats = _ambient(Client.heartbeats)
claim = _ambient(Client.claim)
renew = _ambient(Client.renew)
release = _ambient(Client.release)
holding = _ambient(Client.holding)
claim_task = _ambient(Client.claim_task)
checkpoint = _ambient(Client.checkpoint)
complete = _ambient(Client.complete)
release_task = _ambient(Client.release_task)
save_checkpoint = _ambient(Client.save_checkpoint)
load_checkpoint = _ambient(Client.load_checkpoint)
briefing = _ambient(Client.briefing)
send_message = _ambient(Client.send_message)
receive_messages = _ambient(Client.receive_messages)
acknowledge_message = _ambient(Client.acknowledge_message)
