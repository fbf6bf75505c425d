"""What issues are about, in the user's words: kept in the journal, and given to their agents."""

from collections import OrderedDict
from collections.abc import Iterable

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.ledger import Ledger, Record

MOST_TITLE = 512
MOST_BODY = 65_536
MOST_TEXTS = 10_000
MOST_BYTES = 4 * 1024 * 1024
"""How much all texts of a project may take: each segment of the journal (8 MiB) begins with all of them."""


class IssueText(msgspec.Struct, frozen=True):
    """The text of an issue, and when it was written (seconds since the epoch)."""

    issue_id: str
    title: str
    body: str
    at: float

    @property
    def text(self) -> str:
        """Title and body as one text."""
        return f"{self.title}\n\n{self.body}".strip()

    @property
    def size(self) -> int:
        """How many bytes it takes, at most."""
        return len((self.title + self.body).encode("utf-8", "replace"))


@define(eq=False)
class IssueTexts:
    """The texts of one project's issues; those written longest ago are forgotten when there is too much."""

    _clock: IReactorTime
    _ledger: Ledger
    kinds: tuple[str, ...] = ("issue_text",)
    _kept: "OrderedDict[str, IssueText]" = field(factory=OrderedDict)
    _bytes: int = 0

    def write(self, issue_id: str, title: str, body: str) -> "Deferred[IssueText]":
        """Fire with the text when it is on disk, in the place of an older one; raises as `IJournal.append`."""
        text = IssueText(issue_id, title, body, self._clock.seconds())
        return self._ledger.record("issue_text", text).addCallback(lambda _: self._keep(text))

    @property
    def names(self) -> Iterable[str]:
        """The issues that have one."""
        return self._kept

    def find(self, issue_id: str) -> IssueText | None:
        """Give the text of an issue, if there is one."""
        return self._kept.get(issue_id)

    def text_of(self, issue_id: str) -> str:
        """Give title and body of an issue as one text, "" if there is none."""
        found = self._kept.get(issue_id)
        return "" if found is None else found.text

    def _keep(self, text: IssueText) -> IssueText:
        before = self._kept.pop(text.issue_id, None)
        self._bytes += text.size - (0 if before is None else before.size)
        self._kept[text.issue_id] = text
        while len(self._kept) > MOST_TEXTS or self._bytes > MOST_BYTES:
            self._bytes -= self._kept.popitem(last=False)[1].size
        return text

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up a text."""
        self._keep(msgspec.json.decode(body, type=IssueText))

    def snapshot(self) -> Iterable[Record]:
        """Give all texts."""
        for text in self._kept.values():
            yield "issue_text", text
