"""Who asks: an agent with a token of its own, or the agent that a person's own `claude` is.

Such a `claude` is one agent, to ``cco mcp`` and to every ``cco hook`` that it starts, and no two are the same one. It
is of type `PERSONS_TYPE`, and works on the issue that ``CCO_ISSUE`` names, or `PERSONS_ISSUE`: what the first of its
programs was told counts until it ends. A session that is resumed goes on as the agent that it was, if it is on the same
issue of the same project and no other `claude` is that agent meanwhile.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cco_sidecar import runfile
from cco_sidecar.cli import place as places
from cco_sidecar.cli.asking import Trouble, advice, ask
from cco_sidecar.cli.claude_process import SESSION, claude_above
from cco_sidecar.cli.person_files import Busy, Kept, PersonFiles, Unkept, key_of
from cco_sidecar.client.tokens import claims_of
from cco_sidecar.client.values import route

PERSONS_TYPE = "chief-architect"
PERSONS_ISSUE = "main"

_ITS_OWN = ("AGENT_ID", "CCO_TOKEN", "JWT_TOKEN_FILE", "JWT_TOKEN")
_LOCK_SECONDS = 1.0
_MARGIN_SECONDS = 5.0
"""A token that ends so soon is not shown any more; the sidecar gives its successor long before."""


class Asker:
    """Whoever asks, of the sidecar that a flag or the environment names."""

    def __init__(self, url: str | None, environ: Mapping[str, str]) -> None:
        self._url = url
        self._environ = environ
        self._lock = threading.Lock()

    @property
    def place(self) -> places.Place:
        """Where the sidecar is now."""
        return places.find(self._url, self._environ)

    def explain(self, trouble: Trouble) -> str:
        """Say what is wrong and what to do about it."""
        running = runfile.running(places.home(self._environ))
        return f"{trouble} {advice(trouble, self.place.server.url, running)}".strip()


class Agent(Asker):
    """An agent that was given its token, by a flag or its environment."""

    def __init__(self, url: str | None, token: str | None, environ: Mapping[str, str]) -> None:
        super().__init__(url, environ)
        self._flag = token
        self._token: str | None = None

    def token(self, refused: str | None = None) -> str:
        """Give the token, or another one in the place of one that was refused.

        :raises Trouble: there is none.
        """
        with self._lock:
            if self._token is None or self._token == refused:
                self._token = places.own_token(self._flag, self._environ)
            if self._token is None:
                raise Trouble("token", "The environment says that this is an agent, but has no token for it.")
            return self._token

    def take(self, successor: str) -> None:
        """Take the token that follows."""
        with self._lock:
            self._token = successor


class Person(Asker):
    """The agent that a person's own `claude` is.

    :param files: what its other programs know of it, too.
    :param session_id: the session in which it began, as far as this program knows.
    :param left: how many seconds there are to ask for a token.
    """

    def __init__(
        self,
        url: str | None,
        environ: Mapping[str, str],
        files: PersonFiles | Unkept,
        session_id: str,
        left: Callable[[], float],
    ) -> None:
        super().__init__(url, environ)
        self._files = files
        self._session = session_id
        self._left = left

    def token(self, refused: str | None = None) -> str:
        """Give the token of this `claude`, or another one in the place of one that was refused.

        :raises Trouble: the sidecar gives none.
        """
        where = self.place
        kept = self._files.read()
        if kept is not None and _is_good(kept, where, refused):
            return kept.token
        with self._alone() as kept:
            if _is_good(kept, where, refused):  # another program was quicker
                return kept.token
            body = {"agent_type": PERSONS_TYPE, "issue_id": kept.issue_id, "agent_id": kept.agent_id}
            if kept.project_id is not None:
                body["project_id"] = kept.project_id
            token = str(self._ask_as_admin(where, "POST", route("api", "tokens"), body).get("token"))
            self._files.write(kept._replace(url=where.server.url, token=token))
            return token

    def take(self, successor: str) -> None:
        """Take the token that follows; answers may overtake each other, so only a later one of this agent counts."""
        try:
            with self._alone() as kept:
                old, new = claims_of(kept.token), claims_of(successor)
                if old.get("sub") == new.get("sub") and new.get("exp", 0) > old.get("exp", 0):
                    self._files.write(kept._replace(token=successor))
        except Trouble:
            return  # it comes again with the next answer

    def attend(self, session_id: str, *, is_resumed: bool) -> None:
        """Go on with a session; with one that is resumed as the agent that it was.

        :raises Trouble: what is kept can't be read or written.
        """
        kept = self._files.read()
        if kept is not None and kept.session_id == session_id:
            return
        with self._alone() as kept, self._files.all_locked(_LOCK_SECONDS):
            known = self._files.agent_of(session_id, kept.issue_id, kept.project_id) if is_resumed else None
            if known is None or known == kept.agent_id:
                now = kept._replace(session_id=session_id)
            else:
                now = Kept(known, kept.issue_id, kept.project_id, session_id)
            self._files.write(now)
            self._files.remember(now)
        if now.agent_id != kept.agent_id:
            self._end(kept)

    def leave(self) -> None:
        """Forget the `claude`, which ends; whose its sessions are stays known."""
        self._files.remove()

    def is_news(self, kind: str) -> bool:
        """Say whether the person was not told of this kind of trouble just before; from now on they were."""
        try:
            with self._alone() as kept:
                if kept.told == kind:
                    return False
                self._files.write(kept._replace(told=kind))
        except Trouble:
            return True
        return True

    def went_well(self) -> None:
        """Note that whatever trouble there was is over."""
        kept = self._files.read()
        if kept is not None and kept.told:
            with self._alone() as kept:
                self._files.write(kept._replace(told=""))

    @contextmanager
    def _alone(self) -> Iterator[Kept]:
        """Give what is kept, or begin it, while no other program of this `claude` can change it."""
        try:
            with self._lock, self._files.locked(max(_LOCK_SECONDS, self._left())):
                yield self._files.read() or self._begin()
        except Busy:
            raise Trouble("busy", "Another hook of this claude has been asking the sidecar for too long.") from None
        except OSError as error:
            raise Trouble("files", f"What is kept of this claude can't be written: {error}.") from None

    def _begin(self) -> Kept:
        directory = Path(self._environ.get("CLAUDE_PROJECT_DIR") or Path.cwd())
        project = self._environ.get("PROJECT_ID") or places.project_of(directory, self._environ)
        issue = self._environ.get("CCO_ISSUE") or PERSONS_ISSUE
        with self._files.all_locked(_LOCK_SECONDS):
            known = self._files.agent_of(self._session, issue, project)
            kept = Kept(known or f"{PERSONS_TYPE}-{os.urandom(6).hex()}", issue, project, self._session)
            self._files.write(kept)
            self._files.remember(kept)
            self._files.sweep()
        return kept

    def _end(self, kept: Kept) -> None:
        """End the token of the agent that this `claude` was until it became another one; nobody is it any more."""
        where = self.place
        token_id = claims_of(kept.token).get("jti")
        if not isinstance(token_id, str) or kept.url != where.server.url:
            return
        try:
            self._ask_as_admin(where, "DELETE", route("api", "tokens", token_id), None)
        except Trouble:
            return  # it ends by itself, within the hour

    def _ask_as_admin(self, where: places.Place, method: str, path: str, body: object) -> Mapping[str, object]:
        token = places.find_token(None, self._environ, where.entry, where.server.host)
        if token is None and not places.is_loopback(where.server.host):
            raise Trouble(
                "token",
                f"{where.server.url} is on another machine, whose admin token is not here: "
                "put a token of that sidecar into CCO_TOKEN (cco token issue).",
            )
        return ask(where.server, method, path, token or "", body, seconds=max(0.1, self._left())).body


def who(
    url: str | None,
    token: str | None,
    environ: Mapping[str, str],
    left: Callable[[], float],
    session_id: str | None = None,
) -> Agent | Person:
    """Say who asks.

    :param url: where the sidecar is, if a flag said so; ``token`` likewise.
    :param session_id: the session that a hook is about.
    """
    if token is not None or any(environ.get(name) for name in _ITS_OWN):
        return Agent(url, token, environ)
    process = claude_above(environ, os.getppid())
    session = session_id or environ.get(SESSION) or ""
    key = key_of(process, session)
    machine = "" if process is None else process.machine
    files = Unkept() if key is None else PersonFiles(places.home(environ), key, machine)
    return Person(url, environ, files, session, left)


def _is_good(kept: Kept, where: places.Place, refused: str | None) -> bool:
    """Say whether the token that is kept can be shown: to nobody but the sidecar that made it."""
    if not kept.token or kept.url != where.server.url or kept.token == refused:
        return False
    ends = claims_of(kept.token).get("exp")
    return ends is None or time.time() < ends - _MARGIN_SECONDS
