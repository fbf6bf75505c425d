"""The route table, and the Klein application made from it. Whoever wonders what a URL does begins here."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from attrs import define, frozen
from klein import Klein
from twisted.internet.defer import Deferred
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.exceptions import MethodNotAllowed as WrongMethod

from cco_sidecar import errors
from cco_sidecar.core.events.event import EventBody
from cco_sidecar.core.roster import PUBLISH_EVENTS, READ_CONTEXT, SPAWN_AGENTS, WRITE_RESULTS
from cco_sidecar.errors import Refusal
from cco_sidecar.web import (
    agents,
    budgets,
    checkpoints,
    claims,
    cloudevents,
    context,
    events,
    hooks,
    issue_answers,
    issues,
    keys,
    messages,
    model_accounts,
    openapi,
    replays,
    results,
    status,
    tasks,
    tokens,
    webhooks,
)
from cco_sidecar.web.errors import BadRequest, MethodNotAllowed
from cco_sidecar.web.mcp import api as mcp
from cco_sidecar.web.request import SidecarRequest
from cco_sidecar.web.routing import ADMIN_ONLY, ANY_AGENT, OPEN, Access, NoQuery, Pipeline, Route, optional_body

API = "/api"
MOST_ID = 128


@frozen
class APIs:
    """The handlers of all rooms."""

    accounts: model_accounts.ModelAccountsAPI
    agents: agents.AgentsAPI
    budgets: budgets.BudgetsAPI
    checkpoints: checkpoints.CheckpointsAPI
    claims: claims.ClaimsAPI
    context: context.ContextAPI
    events: events.EventsAPI
    hooks: hooks.HooksAPI
    issues: issues.IssuesAPI
    keys: keys.KeysAPI
    mcp: mcp.MCPAPI
    messages: messages.MessagesAPI
    replays: replays.ReplaysAPI
    results: results.ResultsAPI
    status: status.StatusAPI
    tasks: tasks.TasksAPI
    tokens: tokens.TokensAPI
    webhooks: webhooks.WebhooksAPI
    openapi: openapi.OpenAPI


def route_table(api: APIs) -> Sequence[Route]:
    """Give every route, in the order of the contract."""
    read = Access(permission=READ_CONTEXT, own_issue=True)
    own = Access(owner="the agent itself, or the one that spawned it")
    itself = Access(owner="the agent itself")
    holder = Access(owner="the agent that holds it")
    one = {cloudevents.ONE: cloudevents.CloudEvent}
    document = {"text/markdown": str}
    several = {cloudevents.BATCH: list[cloudevents.CloudEvent]}
    return (
        Route("POST", "/api/tokens", api.tokens.issue, "Issue a token.", ADMIN_ONLY,
              body=tokens.TokenRequest, answer=tokens.TokenAnswer, status=201),
        Route("POST", "/api/tokens/refresh", api.tokens.refresh, "Get the token's successor.", ANY_AGENT,
              answer=tokens.RefreshAnswer),
        Route("DELETE", "/api/tokens/<jti>", api.tokens.revoke, "Revoke a token and its successors.", ADMIN_ONLY,
              answer=tokens.RevokeAnswer),
        Route("POST", "/api/keys/rotate", api.keys.rotate, "Sign tokens with a new key.", ADMIN_ONLY,
              body=keys.RotateRequest, answer=keys.RotateAnswer),
        Route("GET", "/.well-known/jwks.json", api.tokens.jwks, "The keys that sign tokens.", OPEN,
              query=NoQuery, answer=tokens.KeySet),

        Route("POST", "/api/events/<event_type>", api.events.publish, "Publish an event.",
              Access(permission=PUBLISH_EVENTS), body=events.EventRequest, body_refusal=errors.InvalidEvent,
              answer=events.PublishAnswer, status=202, read=events.read_event, body_forms=one),
        Route("GET", "/api/events/wait/<types>", api.events.wait, "Wait for events.", ANY_AGENT,
              query=events.WaitQuery, answer=events.WaitAnswer, answer_forms=several),
        Route("GET", "/api/events", api.events.history, "List retained events.", ANY_AGENT,
              query=events.HistoryQuery, answer=events.HistoryAnswer, answer_forms=several),
        Route("GET", "/api/events/stream", api.events.stream, "Follow events (Server-Sent Events).", ANY_AGENT,
              query=events.SelectionQuery),
        Route("GET", "/api/events/dead-letters", api.webhooks.dead_letters, "List what could not be delivered.",
              ADMIN_ONLY, query=webhooks.DeadLettersQuery, answer=webhooks.DeadLettersAnswer),
        Route("DELETE", "/api/events/dead-letters", api.webhooks.clear, "Remove dead letters.", ADMIN_ONLY,
              query=webhooks.ClearLettersQuery, answer=webhooks.RemovedAnswer),
        Route("POST", "/api/events/replay", api.replays.begin, "Give events again.", ADMIN_ONLY,
              body=replays.ReplayRequest, answer=replays.ReplayAnswer, status=202),
        Route("GET", "/api/events/replay/<replay_id>", api.replays.show, "How far a replay is.", ADMIN_ONLY,
              answer=replays.ReplayAnswer),
        Route("DELETE", "/api/events/replay/<replay_id>", api.replays.cancel, "End a replay.", ADMIN_ONLY,
              answer=replays.ReplayAnswer),
        Route("GET", "/api/events/<event_id>", api.events.get, "One event.", ANY_AGENT, answer=EventBody,
              answer_forms=one),

        Route("POST", "/api/webhooks", api.webhooks.add, "Register a webhook.", ADMIN_ONLY,
              body=webhooks.WebhookRequest, answer=webhooks.NewWebhookAnswer, status=201),
        Route("GET", "/api/webhooks", api.webhooks.list, "List webhooks.", ADMIN_ONLY, answer=webhooks.WebhooksAnswer),
        Route("GET", "/api/webhooks/<webhook_id>", api.webhooks.show, "One webhook.", ADMIN_ONLY,
              answer=webhooks.WebhookAnswer),
        Route("DELETE", "/api/webhooks/<webhook_id>", api.webhooks.remove, "Remove a webhook.", ADMIN_ONLY,
              answer=webhooks.WebhookGoneAnswer),
        Route("POST", "/api/webhooks/<webhook_id>/test", api.webhooks.test, "Send a test message now.", ADMIN_ONLY,
              answer=webhooks.TestAnswer),
        Route("POST", "/api/webhooks/<webhook_id>/redeliver", api.webhooks.redeliver, "Deliver again.", ADMIN_ONLY,
              body=webhooks.RedeliverRequest, answer=webhooks.RedeliverAnswer, status=202),

        Route("GET", "/api/context/<issue_id>/<agent_type>", api.context.get, "The context of an issue for a type.",
              read, query=context.ContextQuery, answer=context.ContextBody, answer_forms=document),
        Route("GET", "/api/context/<issue_id>/<agent_type>/explain", api.context.explain,
              "Why each file is in a context or not.", read, query=context.ExplainQuery, answer=context.ExplainAnswer),
        Route("DELETE", "/api/cache/context/<issue_id>", api.context.clear_issue, "Forget an issue's contexts.",
              ADMIN_ONLY, query=context.ClearQuery, answer=context.ClearedAnswer),
        Route("DELETE", "/api/cache/all", api.context.clear_all, "Forget all contexts.", ADMIN_ONLY,
              query=context.ClearQuery, answer=context.ClearedAnswer),

        Route("POST", "/api/results", api.results.store, "Store a result.", Access(permission=WRITE_RESULTS),
              body=results.ResultRequest, answer=results.StoreAnswer, status=201, most_body_bytes=results.MOST_BYTES),
        Route("GET", "/api/results", api.results.list, "List results.", Access(permission=READ_CONTEXT),
              query=results.ListQuery, answer=results.ListAnswer),
        Route("DELETE", "/api/results", api.results.prune, "Remove old results.", ADMIN_ONLY,
              query=results.PruneQuery, answer=results.PruneAnswer),
        Route("GET", "/api/results/id/<result_id>", api.results.by_id, "One result.", Access(permission=READ_CONTEXT),
              answer=results.StoredObject),
        Route("GET", "/api/results/<issue_id>/<agent_type>", api.results.newest, "A type's newest result.", read,
              answer=results.StoredObject),

        Route("POST", "/api/agents/spawn", api.agents.spawn, "Start an agent.", Access(permission=SPAWN_AGENTS),
              body=agents.SpawnRequest, answer=agents.SpawnAnswer, status=201),
        Route("GET", "/api/agents", api.agents.list, "List agents.", ANY_AGENT,
              query=agents.AgentsQuery, answer=agents.AgentsAnswer),
        Route("GET", "/api/agents/<agent_id>", api.agents.show, "One agent.", ANY_AGENT, answer=agents.AgentLine),
        Route("GET", "/api/agents/<agent_id>/status", api.agents.show, "One agent.", ANY_AGENT,
              answer=agents.AgentLine),
        Route("GET", "/api/agents/<agent_id>/logs", api.agents.logs, "What an agent wrote.", own,
              query=agents.LogsQuery),
        Route("POST", "/api/agents/<agent_id>/heartbeat", api.agents.heartbeat, "Say that the agent works.", itself,
              answer=agents.HeartbeatAnswer),
        Route("PUT", "/api/agents/<agent_id>/checkpoint", api.checkpoints.write, "Keep how far the agent has come.",
              itself, body=msgspec.Raw, answer=checkpoints.CheckpointAnswer),
        Route("GET", "/api/agents/<agent_id>/checkpoint", api.checkpoints.read, "How far the agent has come.", itself),
        Route("GET", "/api/agents/<agent_id>/briefing", api.checkpoints.brief, "What the agent needs to go on.", itself,
              query=checkpoints.BriefingQuery, answer=checkpoints.BriefingAnswer, answer_forms=document),
        Route("DELETE", "/api/agents/<agent_id>", api.agents.kill, "End an agent.", own,
              query=agents.KillQuery, answer=agents.AgentLine),

        Route("GET", "/api/accounts", api.accounts.list, "List the accounts that agents work for.", ADMIN_ONLY,
              answer=model_accounts.AccountsAnswer),
        Route("POST", "/api/accounts/<account>/resume", api.accounts.resume, "Try now whether an account works again.",
              ADMIN_ONLY, answer=model_accounts.AccountLine),

        Route("POST", "/api/issues/<issue_id>", api.issues.describe, "Keep an issue's text.",
              Access(permission=SPAWN_AGENTS, own_issue=True), body=issues.IssueRequest,
              answer=issue_answers.IssueAnswer),
        Route("GET", "/api/issues", api.issues.list, "List issues.", Access(permission=READ_CONTEXT),
              query=issues.IssuesQuery, answer=issue_answers.IssuesAnswer),
        Route("GET", "/api/issues/<issue_id>", api.issues.show, "An issue, and the work on it.", read,
              answer=issue_answers.IssueState),
        Route("POST", "/api/issues/<issue_id>/start", api.issues.start, "Run a workflow for an issue.",
              Access(permission=SPAWN_AGENTS, own_issue=True), body=issues.StartRequest, read=issues.read_start,
              answer=issue_answers.RunAnswer, status=201),
        Route("POST", "/api/issues/<issue_id>/stop", api.issues.stop, "End the work on an issue.",
              Access(permission=SPAWN_AGENTS, own_issue=True), query=agents.KillQuery,
              answer=issue_answers.RunAnswer),

        Route("POST", "/api/claims", api.claims.claim, "Claim paths or names.", ANY_AGENT, query=claims.ClaimQuery,
              body=claims.ClaimRequest, answer=claims.ClaimAnswer, status=201),
        Route("GET", "/api/claims", api.claims.list, "List claims.", ANY_AGENT,
              query=claims.ClaimsQuery, answer=claims.ClaimsAnswer),
        Route("POST", "/api/claims/<claim_id>/renew", api.claims.renew, "Let a claim last longer.", holder,
              body=claims.RenewRequest, answer=claims.ClaimAnswer, read=optional_body),
        Route("DELETE", "/api/claims/<claim_id>", api.claims.release, "End a claim.", holder,
              answer=claims.ReleaseAnswer),

        Route("POST", "/api/tasks", api.tasks.add, "Add a task.", ANY_AGENT,
              body=tasks.TaskRequest, answer=tasks.TaskAnswer, status=201),
        Route("GET", "/api/tasks", api.tasks.list, "List tasks.", ANY_AGENT,
              query=tasks.TasksQuery, answer=tasks.TasksAnswer),
        Route("POST", "/api/tasks/claim", api.tasks.take, "Take a task (204: there is none).", ANY_AGENT,
              query=tasks.TakeQuery, body=tasks.TakeRequest, answer=tasks.TakeAnswer, read=optional_body),
        Route("GET", "/api/tasks/<task_id>", api.tasks.show, "One task.", ANY_AGENT, answer=tasks.TaskAnswer),
        Route("DELETE", "/api/tasks/<task_id>", api.tasks.cancel, "Cancel a task.",
              Access(owner="the agent that added it"), answer=tasks.TaskLine),
        Route("POST", "/api/tasks/<task_id>/checkpoint", api.tasks.checkpoint, "Keep how far the agent has come.",
              holder, body=tasks.TaskCheckpointRequest, answer=tasks.TaskLine),
        Route("POST", "/api/tasks/<task_id>/complete", api.tasks.complete, "Complete a task.", holder,
              body=tasks.CompleteRequest, answer=tasks.TaskLine),
        Route("POST", "/api/tasks/<task_id>/release", api.tasks.release, "Give a task back.", holder,
              body=tasks.GiveBackRequest, answer=tasks.TaskLine),

        Route("POST", "/api/mcp", api.mcp.post, "The Model Context Protocol.", ANY_AGENT,
              body=mcp.RPCRequest, answer=mcp.RPCAnswer, read=mcp.read_rpc, is_rpc=True),
        Route("POST", "/api/hooks/claude", api.hooks.claude, "Answer a hook of Claude Code.", Access(hook=True),
              body=hooks.HookRequest, answer=hooks.HookAnswer, most_body_bytes=hooks.MOST_BYTES),
        Route("POST", "/api/messages", api.messages.send, "Send a message.", Access(permission=PUBLISH_EVENTS),
              body=messages.MessageRequest, answer=messages.MessageAnswer, status=201),
        Route("GET", "/api/messages", api.messages.list, "List messages, or wait for some.", ANY_AGENT,
              query=messages.MessagesQuery, answer=messages.MessagesAnswer),
        Route("GET", "/api/messages/<message_id>", api.messages.show, "One message, and how far it is.",
              Access(owner="those whom it is from or to"), answer=messages.MessageAnswer),
        Route("POST", "/api/messages/<message_id>/ack", api.messages.acknowledge, "Say that it was seen, or done.",
              Access(owner="those whom it is to"), body=messages.AckRequest, answer=messages.MessageAnswer,
              read=optional_body),

        Route("GET", "/api/budgets", api.budgets.list, "List budgets.", ANY_AGENT, answer=budgets.BudgetsAnswer),
        Route("GET", "/api/budgets/<kind>/<budget_id>", api.budgets.show, "One budget, and how far it is.", ANY_AGENT,
              answer=budgets.BudgetAnswer),
        Route("PUT", "/api/budgets/<kind>/<budget_id>", api.budgets.set, "Set a budget.", ADMIN_ONLY,
              body=budgets.BudgetRequest, answer=budgets.BudgetAnswer),
        Route("DELETE", "/api/budgets/<kind>/<budget_id>", api.budgets.remove, "Remove a budget.", ADMIN_ONLY,
              answer=budgets.BudgetGoneAnswer),

        Route("GET", "/health", api.status.health, "Whether all is well.", OPEN, query=NoQuery,
              answer=status.HealthAnswer),
        Route("GET", "/livez", api.status.live, "Whether the process lives.", OPEN, query=NoQuery,
              answer=status.ProbeAnswer),
        Route("GET", "/readyz", api.status.ready, "Whether requests are taken.", OPEN, query=NoQuery,
              answer=status.ProbeAnswer),
        Route("GET", "/status", api.status.status, "Everything that is measured.", OPEN, query=NoQuery,
              answer=status.StatusAnswer),
        Route("GET", "/metrics", api.status.metrics, "The same for Prometheus.", OPEN, query=NoQuery),
        Route("GET", "/api/openapi.json", api.openapi.get, "This description.", OPEN, query=NoQuery),
    )  # fmt: skip


def build_app(routes: Sequence[Route], pipeline: Pipeline) -> Klein:
    """Make the Klein application of these routes; what Klein itself refuses is answered in the contract's form."""
    app = Klein()
    # A path with an empty name is no other route's: not found, instead of sent elsewhere.
    app.url_map.merge_slashes = False
    for route in routes:
        app.route(route.path, methods=[route.method], endpoint=f"{route.method} {route.path}", strict_slashes=False)(
            _endpoint(route, pipeline)
        )

    def refused(request: Any, failure: Any) -> None:
        pipeline.refuse(request, _unrouted(request, failure.value, pipeline))

    app.handle_errors(HTTPException)(refused)
    return app


def _endpoint(route: Route, pipeline: Pipeline) -> Callable[..., "Deferred[None]"]:
    def endpoint(request: SidecarRequest, **path: str) -> "Deferred[None]":
        return Deferred.fromCoroutine(pipeline.run(route, request, path))

    return endpoint


def _unrouted(request: SidecarRequest, error: HTTPException, pipeline: Pipeline) -> Refusal:
    """Say why there is no route; below ``/api`` only to those who have a token."""
    path = request.path.decode("utf-8", "replace")
    if path == API or path.startswith(f"{API}/"):
        try:
            claims = pipeline.gate.authenticate(request)
            pipeline.gate.limit(request, claims)
            pipeline.gate.renew(request, claims)
        except Refusal as refusal:
            return refusal
    method = request.method.decode("ascii", "replace")
    if isinstance(error, WrongMethod):
        allowed = sorted(set(error.valid_methods or ()) - {"HEAD"})
        return MethodNotAllowed(f"This route takes {' and '.join(allowed)}, not {method[:32]}.", allowed=allowed)
    if isinstance(error, NotFound):
        return errors.NotFound("There is no such route; GET /api/openapi.json lists those there are.")
    return BadRequest("The URL cannot be read.")


@define(eq=False)
class FrontDoor:
    """What is asked of every request before it is routed: a Host that is ours, and no foreign page behind it.

    ``hosts`` are lower-case names and addresses without port; ``origins`` are whole (``https://example.org``).
    """

    _hosts: frozenset[str]
    _origins: frozenset[str]
    _new_id: Callable[[], str]

    def refusal(self, request: SidecarRequest) -> Refusal | None:
        """Say why the request is not let in; None if it is."""
        request.request_id = fit_for_logs(request.getHeader("x-request-id")) or self._new_id()
        request.correlation_id = fit_for_logs(request.getHeader("x-correlation-id"))
        hosts = request.requestHeaders.getRawHeaders(b"Host") or []
        # As ASCII: other alphabets have white space and digits that would be passed over here, and nowhere else.
        host = hosts[0].decode("ascii", "replace").strip(" \t").lower() if len(hosts) == 1 else ""
        if not self.serves(host):
            return errors.HostRefused(
                "This sidecar does not serve that Host. Use localhost, or name it in the settings "
                "(sidecar.allowed_hosts)."
            )
        origin = request.getHeader("origin")
        same = {f"http://{host}", f"https://{host}"}
        if origin is not None and origin not in self._origins and origin.lower() not in same:
            return errors.OriginRefused(
                "Pages of that origin may not call this sidecar; allow it in the settings (sidecar.allowed_origins)."
            )
        return _unreadable(request.path)

    def serves(self, host: str) -> bool:
        """Say whether a Host header, in lower case, names this sidecar."""
        return _name_of(host) in self._hosts


def _unreadable(path: bytes) -> Refusal | None:
    """Refuse a path that is no text; Klein would answer it in a form of its own."""
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        return errors.InvalidParameter("The path of the URL is not UTF-8.")
    return None


def fit_for_logs(value: str | None) -> str | None:
    """Give a header that goes into logs and answers, if it is fit for them."""
    return value if value and len(value) <= MOST_ID and value.isascii() and value.isprintable() else None


def _name_of(host: str) -> str:
    """Give a Host header without its port; brackets of an IPv6 address stay off."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        return name if bracket and (not port or (port[0] == ":" and port[1:].isdigit())) else ""
    name, colon, port = host.partition(":")
    return name if not colon or port.isdigit() else ""


def body_limits(routes: Sequence[Route]) -> Callable[[bytes], int]:
    """Give a function from a path to the most bytes that a body sent there may have."""
    usual = 1024 * 1024
    special = {route.path.encode(): route.most_body_bytes for route in routes if route.most_body_bytes > usual}
    return lambda path: special.get(path.rstrip(b"/"), usual)
