"""The fast path and the pipeline answer alike: the same bytes to two sidecars, and all that shows of both compared.

The fast path is a second reader of HTTP, and a second way through the checks. Whatever it does otherwise than the
first is a hole or a mistake; so both are given the same (see twins.py for what is compared), by chance and from a list.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cco_sidecar.web.wire import MOST_HELD
from tests.web.house import Disk, Drain, HangUp, Pass, Send, Step
from tests.web.requests_generated import WRONGS, Dice, Draft, publish, wait
from tests.web.scenarios import scenario
from tests.web.smuggling import SMUGGLING
from tests.web.twins import Run, Twins, run, shortest
from tests.web.world import World

LONG_REQUESTS = 100_000
SHORT_REQUESTS = 800
STEPS = 60
MOST_OF_A_KIND = 450
LEAST_TAKEN = 0.3
"""Such a share of the generated requests must be the fast path's, or little is compared."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """What all twins here stand on."""
    return World.below(tmp_path_factory.mktemp("twins"))


# By chance


def generated(world: World, requests: int) -> Run:
    """Do scenarios until so many requests have been sent; the first difference is cut down and raised."""
    total, seed = Run(0, 0), 0
    while total.requests < requests:
        steps = list(scenario(Dice(random.Random(seed).randrange), world, STEPS))
        try:
            total += run(world, steps)
        except Exception as error:
            found = shortest(world, steps) or error
            raise AssertionError(f"the scenario of seed {seed}:\n{found}") from error
        seed += 1
    assert total.taken >= LEAST_TAKEN * total.requests, total
    return total


def test_many_requests(world: World) -> None:
    """Longer stories: parked polls that are woken, agents that end, a disk that is slow."""
    generated(world, SHORT_REQUESTS)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_very_many_requests(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for long."""
    started = time.monotonic()
    done = generated(world, LONG_REQUESTS)
    with capsys.disabled():
        print(  # noqa: T201 - this is what the long form is run for
            f"\n{done.requests} generated requests, {done.taken} ({done.taken / done.requests:.0%}) of them taken by "
            f"the fast path, without a difference; {time.monotonic() - started:.0f} s"
        )


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_few_requests(data: st.DataObject, world: World) -> None:
    """A few steps at a time, made as plain as can be when they show a difference."""
    dice = Dice(lambda sides: data.draw(st.integers(0, sides - 1)))
    twins = Twins(world)
    for step in scenario(dice, world, 1 + dice.roll(8)):
        twins.do(step)


# From the list


def in_ways(text: bytes) -> Iterator[tuple[bytes, ...]]:
    """Cut bytes in several ways: not at all, at each line, around the end of the head, in the middle, everywhere."""
    yield (text,)
    yield tuple(text.splitlines(keepends=True))
    for at in {text.find(b"\r\n\r\n") + 2, text.find(b"\r\n\r\n") + 4, len(text) // 2, len(text) - 1}:
        if 0 < at < len(text):
            yield text[:at], text[at:]
    if len(text) < 2000:
        yield tuple(text[at : at + 1] for at in range(len(text)))


def told(world: World, name: str, text: bytes) -> bytes:
    """Put the token in."""
    return text.replace(b"AUTH", b"Authorization: Bearer " + world.cast[name])


PLAIN = (
    b'POST /api/events/after HTTP/1.1\r\nHost: localhost\r\nAUTH\r\nContent-Length: 23\r\n\r\n{"topic":"t","data":[]}'
)
LOOK = b"GET /api/events/wait/*?since=earliest&timeout=0 HTTP/1.1\r\nHost: localhost\r\nAUTH\r\n\r\n"


def test_smuggling(world: World) -> None:
    """What could be read in two ways, whole and cut, is not the fast path's, and does the same to both."""
    twins = Twins(world)
    for what, text in SMUGGLING.items():
        for number, pieces in enumerate(in_ways(told(world, "architect", text))):  # first whole
            taken_before = twins.counting.taken
            twins.do(Send(0, pieces))
            assert number or twins.counting.taken == taken_before, f"the fast path took it: {what}"
            twins.do(Send(0, (told(world, "architect", PLAIN),)))
            twins.do(HangUp(0, cleanly=False))
        twins.do(Send(1, (told(world, "admin", LOOK),)))
    twins.finish()


def by_architect(world: World, step: Step) -> Step:
    """Put the architect's token into what is sent."""
    if not isinstance(step, Send):
        return step
    return Send(step.pipe, tuple(told(world, "architect", piece) for piece in step.pieces))


HEAD, BODY = PLAIN[:-23], PLAIN[-23:]
KEYED = HEAD.replace(b"AUTH", b"AUTH\r\nIdempotency-Key: key-1") + BODY


@pytest.mark.parametrize(
    ("after", "taken"),
    [
        ([Send(0, (BODY,))], 1),
        ([Send(0, (BODY[:9],)), Pass(0.4), Send(0, (BODY[9:],))], 1),
        ([Send(0, (BODY + b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",))], 0),
        ([Pass(3.0), Send(0, (BODY,))], 0),  # too late for the fast path, and in time for the channel
        ([Pass(45.0), Send(0, (BODY,))], 0),  # too late for both
        ([HangUp(0), Send(1, (PLAIN,))], 1),
        ([HangUp(0, cleanly=False), Send(1, (PLAIN,))], 1),
        ([Drain(), Send(0, (BODY,))], 0),
    ],
)
def test_a_body_in_a_packet_of_its_own(world: World, after: list[Step], taken: int) -> None:
    """Most clients send head and body apart; the fast path waits for the body a moment, and the channel longer."""
    twins = Twins(world)
    twins.do(Send(0, (told(world, "architect", HEAD),)))
    assert twins.counting.taken == 0
    for step in after:
        twins.do(by_architect(world, step))
    assert twins.counting.taken == taken
    twins.finish()


def test_a_long_body_is_not_waited_for(world: World) -> None:
    """The fast path holds no more than it says."""
    twins = Twins(world)
    head = told(world, "architect", HEAD.replace(b"23", b"%d" % (MOST_HELD + 1)))
    twins.do(Send(0, (head,)))
    twins.do(Send(0, (b'{"topic":"t","data":"' + b". " * (MOST_HELD // 2 - 11) + b'"}',)))
    assert twins.counting.taken == 0
    twins.finish()


def test_keys(world: World) -> None:
    """A key's first request is the fast path's, and what comes again, during or after it, the pipeline's."""
    twins = Twins(world)
    other, second, third = KEYED.replace(b"[]", b"{}"), KEYED.replace(b"y-1", b"y-2"), KEYED.replace(b"y-1", b"y-3")

    def do(*steps: Step) -> int:
        for step in steps:
            twins.do(by_architect(world, step))
        return twins.counting.taken

    assert do(Disk("hold"), Send(0, (KEYED,)), Send(1, (KEYED,)), Send(2, (other,)), Disk("write")) == 1
    assert do(Send(0, (KEYED, KEYED)), Send(1, (LOOK,))) == 2
    # What was refused was not done: its key is as good as new.
    assert do(Disk("hold"), Send(2, (second,)), Send(3, (second,)), Disk("refuse"), Send(4, (second,))) == 3
    # Whoever hung up finds it done.
    assert do(Disk("hold"), Send(5, (third,)), HangUp(5), Disk("write"), Send(6, (third,)), Send(1, (LOOK,))) == 5
    twins.finish()


def test_list_is_long() -> None:
    """The list has what it should have, and everything in it once."""
    assert len(set(SMUGGLING.values())) == len(SMUGGLING) >= 60


# What chance meets too seldom


def every(make: Callable[[Dice], bytes], most: int) -> Iterator[bytes]:
    """Give what is made with every throw of the dice, or with the first so many."""
    throws: list[int] = []
    for _ in range(most):
        thrown: list[tuple[int, int]] = []

        def roll(sides: int, thrown: list[tuple[int, int]] = thrown, throws: Sequence[int] = tuple(throws)) -> int:
            thrown.append((throws[len(thrown)] if len(thrown) < len(throws) else 0, sides))
            return thrown[-1][0]

        yield make(Dice(roll))
        while thrown and thrown[-1][0] + 1 == thrown[-1][1]:
            thrown.pop()
        if not thrown:
            return
        throws = [number for number, _ in thrown]
        throws[-1] += 1


@pytest.mark.parametrize("plain", [publish, wait])
def test_each_oddity(plain: Callable[[Dice, bytes], Draft], world: World) -> None:
    """A plain request with one thing wrong about it, for each thing that can be."""
    twins = Twins(world)
    for wrong in dict.fromkeys(WRONGS):

        def odd(dice: Dice, wrong: Callable[[Dice, Draft], None] = wrong) -> bytes:
            draft = plain(Dice(lambda _: 0), world.cast["architect"])
            wrong(dice, draft)
            return draft.text()

        for text in every(odd, MOST_OF_A_KIND):
            twins.do(Send(0, (text,)))
            twins.do(HangUp(0, cleanly=False))
    twins.finish()


def parked(world: World, who: str, query: bytes, number: int) -> Step:
    """Begin a wait on a connection of its own."""
    head = b"GET /api/events/wait/t?%s HTTP/1.1\r\nHost: localhost\r\nAUTH\r\n\r\n" % query
    return Send(number, (told(world, who, head),))


def test_too_many_subscriptions(world: World) -> None:
    """The 65th subscription of an agent is refused by both, and uses up as much of its allowance."""
    run(world, [parked(world, "coder", b"timeout=0&subscription=s%d" % number, 0) for number in range(67)])


def test_too_many_polls_of_an_agent(tmp_path: Path) -> None:
    """The 33rd poll of one agent is refused by both, and other agents' are not."""
    world = World.below(tmp_path, most_polls=100)
    polls = [parked(world, "architect", b"since=latest&timeout=300000", number) for number in range(34)]
    run(world, [*polls, parked(world, "coder", b"since=latest", 40), HangUp(3), *polls[3:5], *polls[33:]])


def test_too_many_polls(world: World) -> None:
    """With all places taken both refuse, and go on when there is room again."""
    polls = [parked(world, "architect", b"since=latest", number) for number in range(8)]
    more = [HangUp(0), parked(world, "coder", b"since=latest", 20), parked(world, "clerk", b"since=latest", 21)]
    run(world, [*polls, *more, Send(22, (told(world, "admin", PLAIN.replace(b"after", b"t")),)), Pass(40.0)])


@pytest.mark.parametrize("who", ["coder", "clerk"])
def test_too_many_requests(who: str, world: World) -> None:
    """An agent's bucket empties and fills alike, whichever path its requests take."""
    whole = told(world, who, PLAIN)
    ways: Sequence[tuple[bytes, ...]] = [(whole,), (whole[:50], whole[50:]), (told(world, who, LOOK),)]
    steps: list[Step] = [Send(0, ways[number % 3]) for number in range(70)]
    run(world, [*steps, Pass(3.0), *steps[:20]])


def test_draining(world: World) -> None:
    """A sidecar that stops answers what is parked, on its way and still sent, and closes when each is received."""
    publish_t, look = told(world, "admin", PLAIN.replace(b"/after", b"/t")), told(world, "coder", LOOK)
    stored = told(world, "coder", LOOK.replace(b"since=earliest&", b""))
    before = [Send(0, (publish_t,)), Send(1, (stored,)), parked(world, "coder", b"topic=none", 2)]
    for last in ([publish_t], [stored], [look], [stored + publish_t], [publish_t[:60], publish_t[60:]]):
        after = [Send(number, tuple(last)) for number in range(5)]
        run(
            world, [*before, Send(3, (look[:30],)), Disk("hold"), Send(4, (publish_t,)), Drain(), *after, Disk("write")]
        )
        run(world, [*before, Drain(), HangUp(1), *after, Pass(3.0)])
        run(world, [*before, Drain(), HangUp(1, cleanly=False), *after, Pass(3.0)])


@pytest.mark.parametrize("cleanly", [True, False])
def test_hanging_up_while_the_disk_is_slow(cleanly: bool, world: World) -> None:
    """Whoever is gone before the answer is not counted as answered, by neither."""
    run(world, [Disk("hold"), Send(0, (told(world, "coder", PLAIN),)), HangUp(0, cleanly), Disk("write"), Pass(1.0)])


def test_a_token_that_ends_meanwhile(world: World) -> None:
    """A parked poll whose token ends is answered 401 by both, and its parked time is no response time."""
    run(world, [parked(world, "dying", b"timeout=30000", 0), Pass(1.0), Pass(2.0)])


@pytest.mark.parametrize("who", ["dying", "ending"])
def test_a_token_that_ends_while_the_disk_is_slow(who: str, world: World) -> None:
    """A token that has died before the answer has no successor beside it, also where the answer is a refusal."""
    for does in ("write", "refuse"):
        run(world, [Disk("hold"), Send(0, (told(world, who, PLAIN),)), Pass(3.0), Disk(does)])


def test_a_token_that_comes_of_age_meanwhile(world: World) -> None:
    """A token that begins to be renewed while its request is answered has its successor beside a refusal, too."""
    for does in ("write", "refuse"):
        run(world, [Disk("hold"), Send(0, (told(world, "ageing", PLAIN),)), Pass(3.0), Disk(does)])


def test_a_request_after_the_time_limit(world: World) -> None:
    """A connection that was closed for its silence, and is read for a moment more, leaves no call behind."""
    look = told(world, "coder", LOOK.replace(b"since=earliest&", b""))
    begun: list[Step] = [Send(0, (look,)), Send(1, (told(world, "admin", PLAIN),)), Send(0, (look[:30], look[30:]))]
    run(world, [*begun, Pass(80.0), Send(0, (told(world, "coder", PLAIN),)), HangUp(0, cleanly=False)])
