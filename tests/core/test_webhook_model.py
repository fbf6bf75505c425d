"""Webhooks against a plain model: whatever happens in whatever order, every wanted event is taken or a dead letter."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cco_sidecar.core.webhooks.retries import Retries
from cco_sidecar.core.webhooks.webhook import MOST_AT_ONCE, MOST_UNSETTLED, SelectionBody, Webhook
from cco_sidecar.errors import StorageFull
from tests.core.webhook_fakes import Post, WebhookHouse

FULL = StorageFull("The disk is full.")
WANTED = {"https://one.example/": {"x"}, "https://all.example/": {"x", "y"}}
ATTEMPTS = 3


class WebhookMachine(RuleBasedStateMachine):
    """Two receivers that take, refuse, ask for patience or say nothing; a publisher, a clock, a disk, and crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.house = WebhookHouse(retries=Retries(ATTEMPTS, 5, 20))
        self.house.add(SelectionBody(types=["x"]), "https://one.example/")
        self.house.add(url="https://all.example/")
        self.published: dict[int, str] = {}
        self.taken: dict[str, set[int]] = {url: set() for url in WANTED}
        self.tries: dict[tuple[str, int], int] = {}  # in this run
        self.rewound: set[str] = set()  # in this run

    def _webhook(self, url: str) -> Webhook:
        return next(it for it in self.house.webhooks.listing() if it.key is not None and it.key.target.url == url)

    def _dead(self, url: str) -> set[int]:
        letters = self.house.letters.listing(self._webhook(url).id)
        return {int(bytes(it.event).split(b'"sequence":')[1].split(b",")[0]) for it in letters}

    @precondition(lambda self: self.house.events.journal.refusal is None)
    @rule(event_type=st.sampled_from(["x", "y"]), many=st.integers(1, 12))
    def publish(self, event_type: str, many: int) -> None:
        """Events that are on disk."""
        for sequence in self.house.publish(many, event_type):
            self.published[sequence] = event_type

    @precondition(lambda self: self.house.sender.open)
    @rule(which=st.integers(0, 100), status=st.sampled_from([200, 204, 301, 400, 500, 503, None]))
    def answer(self, which: int, status: int | None) -> None:
        """A receiver answers, sooner or later than others."""
        post = self.house.sender.open[which % len(self.house.sender.open)]
        self._answer(post, status)

    def _answer(self, post: Post, status: int | None) -> None:
        url = post.message.target.url
        self.house.sender.answer(
            status, at=self.house.sender.open.index(post), retry_after=30 if status == 503 else None
        )
        self.tries[url, post.number] = self.tries.get((url, post.number), 0) + 1
        if status is not None and status < 300:
            self.taken[url].add(post.number)
        self.house.turn()

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 30.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.house.turn(seconds)

    @rule(is_full=st.booleans())
    def fill_the_disk(self, is_full: bool) -> None:
        """The disk takes nothing for a while; events are not published then."""
        self.house.events.journal.refusal = FULL if is_full else None
        self.house.turn(30.0 if not is_full else 0.0)

    @precondition(lambda self: self.house.events.journal.refusal is None)
    @rule(graceful=st.booleans(), snapshot=st.booleans())
    def restart(self, graceful: bool, snapshot: bool) -> None:
        """The sidecar ends, in order or not, and is back."""
        self.house = self.house.restart(graceful=graceful, snapshot=snapshot)
        self.tries.clear()
        self.rewound.clear()
        self.house.turn()

    @precondition(lambda self: self.house.events.journal.refusal is None and self.published)
    @rule(url=st.sampled_from(sorted(WANTED)), which=st.integers(0, 1000))
    def redeliver(self, url: str, which: int) -> None:
        """Somebody asks for events again."""
        since = self.house.events.hub.cursor(sorted(self.published)[which % len(self.published)])
        self.house.redeliver(self._webhook(url).id, None, since)
        self.tries.clear()
        self.rewound.add(url)
        self.house.turn()

    @invariant()
    def bounded(self) -> None:
        """Only so much is under way, and nothing is tried more often than it should be."""
        for url in WANTED:
            webhook = self._webhook(url)
            to_it = [post for post in self.house.sender.open if post.message.target.url == url]
            assert len(to_it) == webhook.open_requests <= MOST_AT_ONCE
            assert len(webhook.unsettled) <= MOST_UNSETTLED
        if self.house.events.journal.refusal is None:
            assert all(many <= ATTEMPTS + 1 for many in self.tries.values())

    @invariant()
    def nothing_is_lost(self) -> None:
        """What lies behind the position was taken, or is a dead letter."""
        for url, types in WANTED.items():
            webhook = self._webhook(url)
            open_ones = set(webhook.open)
            for sequence, event_type in self.published.items():
                if event_type in types and sequence <= webhook.through and sequence not in open_ones:
                    assert sequence in self.taken[url] or sequence in self._dead(url)

    def teardown(self) -> None:
        """In the end all receivers are well: every wanted event was taken at least once, or is a dead letter."""
        self.house.events.journal.refusal = None
        self.publish("x", 3)
        for _ in range(50):
            while self.house.sender.open:
                self._answer(self.house.sender.open[0], 200)
            self.house.turn(60)
        for url, types in WANTED.items():
            wanted = {sequence for sequence, event_type in self.published.items() if event_type in types}
            assert self.taken[url] | self._dead(url) == wanted
            assert self._webhook(url).pending == 0
            begun = dict.fromkeys(post.number for post in self.house.sender.posts if post.message.target.url == url)
            assert url in self.rewound or list(begun) == sorted(begun)
        assert self.house.events.clock.getDelayedCalls() == []


TestWebhooks = WebhookMachine.TestCase
TestWebhooks.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
