"""Webhooks: what is sent, in what order, how often; what becomes of what nobody takes."""

import base64
import hashlib
import hmac
import json

import msgspec
import pytest

from cco_sidecar.core.dead_letters import MOST_BYTES, MOST_LETTERS, Lost
from cco_sidecar.core.webhooks.feeding import PASSED_UNNOTED
from cco_sidecar.core.webhooks.registry import MOST_TESTS, MOST_WEBHOOKS, TEST_TYPE
from cco_sidecar.core.webhooks.retries import MOST_RETRY_AFTER_SECONDS, Retries
from cco_sidecar.core.webhooks.room import SendRoom
from cco_sidecar.core.webhooks.signing import signature
from cco_sidecar.core.webhooks.webhook import MOST_AT_ONCE, MOST_UNSETTLED, SelectionBody
from cco_sidecar.errors import InvalidBody, InvalidFilter, InvalidParameter, NotFound, StorageFull, TooManyRequests
from cco_sidecar.interfaces import Receipt
from tests.core.webhook_fakes import SECRET, URL, WebhookHouse
from tests.fakes import outcome, result_of

FULL = StorageFull("The disk is full.")


@pytest.fixture
def house() -> WebhookHouse:
    """A house without webhooks."""
    return WebhookHouse()


def exhaust(house: WebhookHouse, status: int | None = 500) -> None:
    """Refuse everything until nothing is tried any more."""
    for _ in range(1000):
        house.answer_all(status)
        if not house.events.clock.getDelayedCalls():
            return
        house.turn(house.retries.most_seconds)
    raise AssertionError("it never ends")


# What is sent


def test_message(house: WebhookHouse) -> None:
    """A message is the event in Standard Webhooks' clothes, signed with the webhook's secret."""
    house.add()
    house.publish(data={"n": 1})
    (post,) = house.sender.posts
    body = json.loads(post.message.body)
    assert set(body) == {"type", "timestamp", "data"}
    event = house.events.hub.history.get(body["data"]["event_id"])
    assert body["data"] == json.loads(event.encoded)
    assert (body["type"], body["timestamp"]) == ("t", event.body.timestamp)
    headers = post.message.headers
    assert headers["webhook-id"] == event.body.event_id
    assert headers["webhook-timestamp"] == str(int(house.events.clock.seconds()))
    # As https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md has it.
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), post.message.body])
    expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_known_signature() -> None:
    """The example that the makers of the scheme use in their own tests comes out."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_selection(house: WebhookHouse) -> None:
    """Only what matches is sent, whatever the condition."""
    house.add(SelectionBody(types=["a", "b"], topic="work", filter="n:>1", publisher="p1", issue="i"))
    house.publish(event_type="c", data={"n": 2})
    house.publish(event_type="a", data={"n": 1})
    house.publish(event_type="a", data={"n": 2}, topic="other")
    house.publish(event_type="a", data={"n": 2}, publisher="p2")
    house.publish(event_type="a", data={"n": 2}, issue_id="j")
    wanted = house.publish(event_type="b", data={"n": 2})
    assert [post.number for post in house.sender.posts] == wanted


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (SelectionBody(types=["*"]), ["a", "b", "c"]),
        (SelectionBody(type="*"), ["a", "b", "c"]),
        (SelectionBody(type="a"), ["a"]),
        (SelectionBody(type="a,b"), ["a", "b"]),
    ],
)
def test_types(house: WebhookHouse, selection: SelectionBody, wanted: list[str]) -> None:
    """Types are a list, or one text as in a wait; ``*`` stands for every type."""
    house.add(selection)
    for name in ("a", "b", "c"):
        house.publish(event_type=name)
    assert [post.event["event_type"] for post in house.sender.posts] == wanted


@pytest.mark.parametrize(
    ("selection", "kind"),
    [
        (SelectionBody(filter="a==b"), InvalidFilter),
        (SelectionBody(types=["wait"]), InvalidParameter),
        (SelectionBody(type="a,,b"), InvalidParameter),
        (SelectionBody(type=",".join(f"t{n}" for n in range(65))), InvalidBody),
        (SelectionBody(topic="../x"), InvalidParameter),
        (SelectionBody(publisher="a b"), InvalidParameter),
        (SelectionBody(issue="*"), InvalidParameter),
    ],
)
def test_bad_selection(house: WebhookHouse, selection: SelectionBody, kind: type[Exception]) -> None:
    """A selection that cannot be is refused, and nothing of it stays."""
    (seen,) = outcome(house.webhooks.add(URL, selection, SECRET))
    assert isinstance(seen, kind)
    assert len(house.webhooks.listing()) == 0
    assert house.keys.kept == {}


def test_not_what_was_before(house: WebhookHouse) -> None:
    """A webhook gets what is published after it was registered."""
    house.publish(3)
    house.add()
    after = house.publish(2)
    assert house.answer_all() == after


def test_publisher_waits_for_nothing(house: WebhookHouse) -> None:
    """Publishing sends nothing itself: that is done when the reactor turns."""
    house.add()
    (seen,) = house.events.publish()
    assert not isinstance(seen, BaseException)
    assert house.sender.posts == []
    house.turn()
    assert len(house.sender.posts) == 1


def test_idle(house: WebhookHouse) -> None:
    """Nothing ticks without webhooks, nor where there is nothing to do."""
    house.publish(3)
    assert house.events.clock.getDelayedCalls() == []
    house.add()
    house.publish(3)
    house.answer_all()
    assert house.events.clock.getDelayedCalls() == []


# How many, in what order


def test_order_and_bounds(house: WebhookHouse) -> None:
    """Events are begun in order, only so many at once."""
    house.add()
    numbers = house.publish(20)
    assert [post.number for post in house.sender.open] == numbers[:MOST_AT_ONCE]
    house.sender.answer(200, at=1)
    house.turn()
    assert [post.number for post in house.sender.posts] == numbers[: MOST_AT_ONCE + 1]
    house.answer_all()
    assert [post.number for post in house.sender.posts] == numbers


def test_failing_receiver_gets_one_request(house: WebhookHouse) -> None:
    """A receiver that failed last gets one request at a time, and at most so many events wait for another attempt."""
    webhook = house.add()
    house.publish(30)
    house.answer_all(500)
    begun = {post.number for post in house.sender.posts}
    assert len(begun) == len(webhook.unsettled) == MOST_UNSETTLED
    house.turn(5)
    assert len(house.sender.open) == 1
    house.sender.answer(200)
    house.turn()
    assert len(house.sender.open) == MOST_AT_ONCE


def test_one_bad_event_holds_up_nobody(house: WebhookHouse) -> None:
    """An event that the receiver cannot take is tried again while all others pass."""
    house.add()
    first, *others = house.publish(30)
    taken = []
    while house.sender.open:
        is_bad = house.sender.open[0].number == first
        taken += [house.sender.answer(500 if is_bad else 200).number][is_bad:]
        house.turn()
    assert taken == others


def test_receivers_do_not_wait_for_each_other(house: WebhookHouse) -> None:
    """One that never answers delays nobody else."""
    house.add(url="https://slow.example/")
    house.add(url="https://quick.example/")
    house.publish(20)
    quick = [post for post in house.sender.posts if "quick" in post.message.target.url]
    for _ in range(20):
        post = next(it for it in house.sender.open if "quick" in it.message.target.url)
        post.answer.callback(Receipt(204))
        house.turn()
        quick.append(post)
    assert sum("slow" in post.message.target.url for post in house.sender.posts) == MOST_AT_ONCE


def test_room() -> None:
    """In all, only so many requests are open; who waits gets the next free place, in turn."""
    house = WebhookHouse(room=SendRoom(2))
    for name in ("a", "b", "c"):
        house.add(url=f"https://{name}.example/")
    house.publish(3)
    assert [post.message.target.host for post in house.sender.open] == ["a.example", "b.example"]
    hosts = []
    while house.sender.open:
        hosts.append(house.sender.answer(200).message.target.host)
        house.turn()
    assert sorted(hosts) == ["a.example"] * 3 + ["b.example"] * 3 + ["c.example"] * 3
    assert hosts.index("c.example") <= 5
    assert (
        house.room.enter("x", lambda: None)
        and house.room.enter("x", lambda: None)
        and not house.room.enter("x", lambda: None)
    )


# Again


def test_backoff(house: WebhookHouse) -> None:
    """Each attempt comes up to twice as late as the one before; then there is a dead letter."""
    house.add()
    house.publish()
    began = house.events.clock.seconds()
    exhaust_times = []
    for wait in (0.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0):
        if wait:
            house.turn(wait - 0.01)
            assert not house.sender.open
            house.turn(0.01)
        exhaust_times.append(house.events.clock.seconds() - began)
        house.sender.answer(500)
        house.turn()
    assert exhaust_times == pytest.approx([0, 5, 15, 35, 75, 155, 315, 635])
    assert house.events.clock.getDelayedCalls() == []
    (letter,) = house.letters.listing()
    assert (letter.attempts, letter.reason) == (8, "the receiver answered 500")
    assert letter.first_attempt_at == pytest.approx(began)
    assert letter.last_attempt_at == pytest.approx(began + 635)
    assert house.outcomes == ["refused"] * 8 + ["dead"]


def test_jitter() -> None:
    """The wait is drawn from nothing to its most, which is bounded."""
    retries = Retries(100, 5, 900)
    assert retries.wait(3, lambda: 0.5) == 10
    assert retries.wait(3, lambda: 0.0) == 0
    assert retries.wait(2000, lambda: 1.0) == 900


def test_same_id_new_time(house: WebhookHouse) -> None:
    """Every attempt has the message's id, and its own time and signature."""
    house.add()
    house.publish()
    house.sender.answer(None)
    house.turn(5)
    first, second = house.sender.posts
    assert first.id == second.id
    assert int(second.message.headers["webhook-timestamp"]) == int(first.message.headers["webhook-timestamp"]) + 5
    assert first.message.headers["webhook-signature"] != second.message.headers["webhook-signature"]


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308, 400, 404, 429, 500, 503, None])
def test_no_success(house: WebhookHouse, status: int | None) -> None:
    """Nothing but 2xx is a success; a redirect says what to do."""
    webhook = house.add()
    house.publish()
    house.answer_all(status)
    assert webhook.attempted.delivered == 0
    assert webhook.attempted.consecutive_failures == 1
    assert webhook.attempted.last_failure is not None
    assert ("redirect" in webhook.attempted.last_failure) == (status in {300, 301, 302, 304, 307, 308})
    house.turn(5)
    assert len(house.sender.open) == 1


@pytest.mark.parametrize(("status", "asked", "waits"), [(429, 60, 60), (503, 1e9, MOST_RETRY_AFTER_SECONDS)])
def test_retry_after(house: WebhookHouse, status: int, asked: float, waits: float) -> None:
    """A receiver that wants to be left alone is, for an hour at most, with everything."""
    house.add()
    house.publish(2)
    house.sender.answer(status, retry_after=asked)
    house.sender.answer(200)
    house.publish(2)
    house.turn(waits - 0.1)
    assert not house.sender.open
    house.turn(0.2)
    assert len(house.sender.open) == 3


def test_retry_after_of_others_does_not_count(house: WebhookHouse) -> None:
    """Only 429 and 503 may ask for a pause."""
    house.add()
    house.publish()
    house.sender.answer(500, retry_after=1000)
    house.turn(5)
    assert len(house.sender.open) == 1


def test_gone(house: WebhookHouse) -> None:
    """410 ends it: nothing more is sent, until a test is taken; then it goes on where it was."""
    webhook = house.add()
    numbers = house.publish(6)
    house.sender.answer(410)
    house.turn(10000)
    assert all(post.cancelled for post in house.sender.posts[1:])
    assert not house.sender.open
    assert not webhook.is_active
    numbers += house.publish(2)
    house = house.restart()
    webhook = house.webhooks.get(webhook.id)
    assert "410" in str(house.webhooks.why_off(webhook))
    house.publish(1)
    assert house.sender.posts == []
    tested = house.test(webhook.id)
    house.sender.answer(500)
    assert not tested[0].delivered
    assert not webhook.is_active
    tested = house.test(webhook.id)
    house.sender.answer(200)
    assert tested[0].delivered
    house.turn()
    assert house.answer_all() == [*numbers, numbers[-1] + 1]


def test_test_message(house: WebhookHouse) -> None:
    """A test is a signed message of its own, sent at once, and answered with what the receiver said."""
    webhook = house.add(SelectionBody(types=["never"]))
    tested = house.test(webhook.id)
    (post,) = house.sender.open
    assert json.loads(post.message.body)["type"] == TEST_TYPE
    assert json.loads(post.message.body)["data"] == {"webhook_id": webhook.id, "project_id": "p"}
    assert post.id.startswith("test-")
    house.turn(0.25)
    post.answer.callback(Receipt(302))
    assert (tested[0].delivered, tested[0].status, tested[0].seconds) == (False, 302, 0.25)
    assert "redirect" in str(tested[0].error)
    assert house.letters.listing() == []


def test_few_tests_at_once(house: WebhookHouse) -> None:
    """Tests are bounded, too."""
    webhook = house.add()
    for _ in range(MOST_TESTS):
        house.test(webhook.id)
    with pytest.raises(TooManyRequests):
        house.test(webhook.id)
    house.sender.answer(200)
    assert house.test(webhook.id) == []


# Registering


def test_refused_address(house: WebhookHouse) -> None:
    """What the sender would not send to is not registered."""
    house.sender.refused = "10.0.0.1 is a private address"
    (seen,) = outcome(house.webhooks.add(URL, SelectionBody(), SECRET))
    assert isinstance(seen, InvalidBody)
    assert "private" in seen.message
    assert seen.details == {"path": "$.url"}


def test_at_most_so_many(house: WebhookHouse) -> None:
    """A project has a bounded number of webhooks."""
    for _ in range(MOST_WEBHOOKS):
        house.add()
    (seen,) = outcome(house.webhooks.add(URL, SelectionBody(), SECRET))
    assert isinstance(seen, InvalidBody)
    result_of(house.webhooks.remove(house.webhooks.listing()[0].id))
    house.add()


def test_full_disk(house: WebhookHouse) -> None:
    """What is not on disk is not registered, and its secret is not kept."""
    house.events.journal.refusal = FULL
    assert outcome(house.webhooks.add(URL, SelectionBody(), SECRET)) == [FULL]
    assert (len(house.webhooks.listing()), house.keys.kept) == (0, {})


def test_remove(house: WebhookHouse) -> None:
    """A webhook that is removed gets nothing more, and its secret is gone; also after a restart."""
    webhook = house.add()
    house.publish(10)
    result_of(house.webhooks.remove(webhook.id))
    house.turn(10000)
    assert not house.sender.open
    assert house.keys.kept == {}
    with pytest.raises(NotFound):
        house.webhooks.get(webhook.id)
    with pytest.raises(NotFound):
        house.webhooks.remove(webhook.id)
    assert house.events.clock.getDelayedCalls() == []
    assert len(house.restart(graceful=False).webhooks.listing()) == 0


def test_nothing_of_it_is_secret_in_the_log(house: WebhookHouse) -> None:
    """The log has neither secret nor URL: the path of a URL is often a password."""
    house.add(url="https://hooks.example/T0/very-secret")
    whole = b"".join(house.events.journal.records)
    assert b"very-secret" not in whole
    assert base64.b64encode(SECRET) not in whole


# Dead letters


def test_disk_full_at_the_end(house: WebhookHouse) -> None:
    """An event is not given up while its dead letter cannot be kept."""
    webhook = house.add()
    house.publish()
    for _ in range(7):
        house.answer_all(500)
        house.turn(house.retries.most_seconds)
    house.events.journal.refusal = FULL
    house.answer_all(500)
    assert (len(house.letters), webhook.pending) == (0, 1)
    house.events.journal.refusal = None
    house.turn(house.retries.most_seconds)
    house.answer_all(500)
    assert (len(house.letters), webhook.pending) == (1, 0)


def test_redelivery_of_letters(house: WebhookHouse) -> None:
    """A dead letter is delivered under its old id; it stays one until it is taken."""
    webhook = house.add()
    house.publish(2)
    exhaust(house)
    before = {post.id for post in house.sender.posts}
    letters = house.letters.listing(webhook.id)
    assert len(letters) == 2
    again = house.redeliver(webhook.id, [letters[0].id])
    assert again.dead_letters == 1
    house.turn()
    assert [post.id in before for post in house.sender.open] == [True]
    assert house.redeliver(webhook.id).dead_letters == 2
    exhaust(house)
    assert {it.id for it in house.letters.listing()} == {it.id for it in letters}
    house.redeliver(webhook.id)
    house.turn()
    assert len(house.answer_all()) == 2
    assert len(house.letters) == 0
    assert len(house.restart().letters) == 0


def test_a_letter_thrown_away_meanwhile(house: WebhookHouse) -> None:
    """A letter that is removed while it is delivered again does not come back."""
    webhook = house.add()
    house.publish()
    exhaust(house)
    house.redeliver(webhook.id)
    house.turn()
    result_of(house.letters.remove(house.letters.listing()))
    exhaust(house)
    assert len(house.letters) == 0
    assert webhook.pending == 0


def test_redelivery_since(house: WebhookHouse) -> None:
    """Everything after a place is delivered again, in order, and what waits is not lost by it."""
    webhook = house.add()
    numbers = house.publish(10)
    house.answer_all()
    waiting = house.publish(6)
    again = house.redeliver(webhook.id, None, house.events.hub.cursor(numbers[4]))
    assert (again.cursor, again.gap) == (house.events.hub.cursor(numbers[4]), False)
    house.turn()
    assert house.answer_all() == [*numbers[5:], *waiting]
    house.publish(6)
    house.redeliver(webhook.id, None, "latest")  # nothing that waits is passed over
    house.turn()
    assert len(house.answer_all()) == 6


def test_redelivery_refusals(house: WebhookHouse) -> None:
    """What cannot be delivered again is refused."""
    webhook, other = house.add(), house.add()
    house.publish()
    exhaust(house)
    (foreign,) = house.letters.listing(other.id)
    for letters, since, kind in (
        (["dl-none"], None, NotFound),
        ([foreign.id], None, NotFound),
        ([foreign.id], "earliest", InvalidBody),
        (None, "yesterday", InvalidParameter),
    ):
        with pytest.raises(kind):
            house.redeliver(webhook.id, letters, since)
    house.letters.lose(webhook.id, Lost(1, 1, 1))
    lost = next(it for it in house.letters.listing(webhook.id) if it.lost)
    with pytest.raises(InvalidBody):
        house.redeliver(webhook.id, [lost.id])
    assert house.redeliver(webhook.id).dead_letters == 1


def test_letters_are_bounded(house: WebhookHouse) -> None:
    """The newest so many letters are kept, and what was pushed out is counted."""

    def bury(event: bytes) -> None:
        result_of(
            house.letters.bury(
                source="webhook",
                webhook_id="w",
                event=event,
                reason="r",
                attempts=1,
                first_attempt_at=None,
                last_attempt_at=None,
            )
        )

    for number in range(MOST_LETTERS + 2):
        bury(b"%d" % number)
    assert len(house.letters) == MOST_LETTERS
    assert house.letters.pushed_out == 2
    assert house.letters.listing()[-1].event == msgspec.Raw(b"2")
    large = b'"' + b"x" * (MOST_BYTES // 2) + b'"'
    for _ in range(3):
        bury(large)
    assert len(house.letters) == 1
    assert sum(len(text) for text in house.ledger.snapshot()) < MOST_BYTES
    result_of(house.letters.remove(house.letters.listing()))
    bury(large)
    assert len(house.restart().letters) == 1


# What lasts


@pytest.mark.parametrize("graceful", [True, False])
@pytest.mark.parametrize("snapshot", [True, False])
def test_restart(house: WebhookHouse, graceful: bool, snapshot: bool) -> None:
    """What was not taken comes after a restart, first what was on its way; what was taken does not come again."""
    webhook = house.add()
    numbers = house.publish(12)
    taken = [house.sender.answer(200, at=at).number for at in (1, 1)]
    house.turn()
    house = house.restart(graceful=graceful, snapshot=snapshot)
    more = house.publish(2)
    assert [post.number for post in house.sender.open] == [n for n in numbers if n not in taken][:MOST_AT_ONCE]
    assert house.answer_all() == [n for n in numbers if n not in taken] + more
    assert house.webhooks.get(webhook.id).position == more[-1]


def test_published_while_stopping(house: WebhookHouse) -> None:
    """What is published after the webhooks were closed comes after the restart."""
    house.add()
    house.webhooks.close()
    late = house.publish(2)
    assert house.sender.posts == []
    house = house.restart()
    house.turn()
    assert house.answer_all() == late


def test_no_gap_for_what_was_not_wanted() -> None:
    """After a crash, events that a webhook did not want do not look like lost ones, not for more than a few."""
    house = WebhookHouse(max_events=2 * PASSED_UNNOTED)
    house.add(SelectionBody(types=["rare"]))
    house.publish(3 * PASSED_UNNOTED)
    house = house.restart(graceful=False)
    house.turn()
    assert house.letters.listing() == []


def test_retention(house: WebhookHouse) -> None:
    """What retention took before it was delivered is told by one dead letter, never passed over in silence."""
    house = WebhookHouse(max_events=10)
    webhook = house.add()
    numbers = house.publish(MOST_AT_ONCE) + house.publish(36)
    first = [post.number for post in house.sender.open]
    house.answer_all()
    assert [post.number for post in house.sender.posts] == first + numbers[-10:]
    (letter,) = house.letters.listing()
    assert letter.lost == Lost(numbers[MOST_AT_ONCE], numbers[-11], 40 - 10 - MOST_AT_ONCE)
    house.publish(MOST_AT_ONCE)
    house.publish(36)
    house.answer_all()
    (letter,) = house.letters.listing()
    assert letter.lost is not None
    assert letter.lost.count == 2 * (40 - 10 - MOST_AT_ONCE)
    house = house.restart()
    assert [it.lost for it in house.letters.listing()] == [letter.lost]
    assert house.webhooks.get(webhook.id).pending == 0


def test_retention_while_it_was_down() -> None:
    """What expired while the sidecar was down is told, too."""
    house = WebhookHouse(retention_seconds=100)
    house.add()
    house.publish(5)
    house.webhooks.close()
    house.events.clock.advance(1000)
    house = house.restart(graceful=False)
    house.turn()
    (letter,) = house.letters.listing()
    assert letter.lost is not None
    assert letter.lost.count == 5
    assert not letter.has_event


def test_a_backlog_does_not_grow_past_the_log() -> None:
    """Nobody remembers the numbers of events that are gone."""
    house = WebhookHouse(max_events=10)
    webhook = house.add()
    house.publish(MOST_AT_ONCE)
    house.publish(196)
    assert len(webhook.backlog) <= 20
    house.answer_all()
    (letter,) = house.letters.listing()
    assert letter.lost is not None
    assert letter.lost.count == 200 - 10 - MOST_AT_ONCE


def test_expired(house: WebhookHouse) -> None:
    """An event whose own time is over before its first attempt is passed over, and counted."""
    webhook = house.add()
    house.publish(MOST_AT_ONCE)
    house.publish(ttl_seconds=5)
    house.turn(6)
    house.answer_all()
    assert (webhook.attempted.expired, webhook.attempted.delivered) == (1, MOST_AT_ONCE)
    assert house.letters.listing() == []
    assert webhook.position == house.events.hub.sequence


def test_without_its_secret(house: WebhookHouse) -> None:
    """A webhook whose secret did not come along is paused and says why; nothing of it is lost when it is back."""
    webhook = house.add()
    numbers = house.publish(3)
    keys = dict(house.keys.kept)
    house.keys.kept.clear()
    house = house.restart(graceful=False)
    paused = house.webhooks.get(webhook.id)
    assert "CCO_HOME" in str(house.webhooks.why_off(paused))
    numbers += house.publish(3)
    assert house.sender.posts == []
    assert house.test(webhook.id)[0].error == house.webhooks.why_off(paused)
    with pytest.raises(InvalidBody):
        house.redeliver(webhook.id)
    house.keys.kept.update(keys)
    house = house.restart()
    house.turn()
    assert house.answer_all() == numbers


def test_position_past_the_end(house: WebhookHouse) -> None:
    """After damage to the log, new events with old numbers are delivered all the same."""
    webhook = house.add()
    numbers = house.publish(5)
    house.answer_all()
    house.events.journal.records[:] = [
        record for record in house.events.journal.records if not record.startswith(b'{"k":"event"')
    ]
    house = house.restart(graceful=False)
    assert house.webhooks.get(webhook.id).position == 0
    again = house.publish(2)
    assert again[0] <= numbers[-1]
    assert house.answer_all() == again


def test_a_long_log_is_read_in_pieces(house: WebhookHouse) -> None:
    """A look back over many events lets the reactor breathe, and loses nothing that comes meanwhile."""
    webhook = house.add(SelectionBody(types=["x"]))
    house.publish(450, "x")
    house.answer_all()
    house.redeliver(webhook.id, None, "earliest")
    scan = webhook.timers["scan"]
    function, arguments = scan.func, scan.args  # type: ignore[attr-defined]
    scan.cancel()
    function(*arguments)  # a clock that is advanced would run all that follows, too
    assert not webhook.caught_up
    house.events.publish("x")
    house.turn()
    assert webhook.caught_up
    assert len(house.answer_all()) == 451
