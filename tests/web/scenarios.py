"""What may happen to a sidecar, by chance: requests whole, cut, piled up; connections that break; time; the disk."""

from collections.abc import Iterator
from itertools import pairwise

from tests.web.house import Disk, Drain, End, HangUp, Pass, Send, Step
from tests.web.requests_generated import OFTEN, Dice, request
from tests.web.world import World

PIPES = 5
"""Connections; the last is where publishes come from that wake the others, and has nothing else to do."""
SECONDS = (0.02, 0.05, 0.1, 0.5, 1.0, 2.0, 12.0, 80.0)


def scenario(dice: Dice, world: World, length: int) -> Iterator[Step]:
    """Give so many steps, most of them requests."""
    favourite = dice.pick(OFTEN)
    for _ in range(length):
        kind = dice.roll(100)
        if kind < 70:
            yield Send(dice.roll(PIPES), _cut(dice, request(dice, world.cast, favourite)))
        elif kind < 75:
            yield _piled_up(dice, world, favourite)
        elif kind < 81:
            yield HangUp(dice.roll(PIPES), cleanly=not dice.chance(50))
        elif kind < 94:
            yield Pass(dice.pick(SECONDS))
        elif kind < 99:
            yield Disk(dice.pick(("write", "write", "write", "write", "hold", "refuse")))
        else:
            yield End("mortal") if dice.chance(60) else _last(dice)


def _last(dice: Dice) -> Step:
    # Whatever comes after it meets a sidecar that is about to stop.
    return Drain() if dice.chance(30) else End("coder")


def _piled_up(dice: Dice, world: World, favourite: str) -> Step:
    """Send several requests at once."""
    many = 2 + dice.roll(4)
    text = b"".join(request(dice, world.cast, favourite) for _ in range(many))
    return Send(dice.roll(PIPES), _cut(dice, text), many)


def _cut(dice: Dice, text: bytes) -> tuple[bytes, ...]:
    """Cut some of what is sent into pieces, one in a while into bytes."""
    if not dice.chance(7) or not text:
        return (text,)
    if len(text) < 1500 and dice.chance(10):
        return tuple(text[at : at + 1] for at in range(len(text)))
    places = sorted({dice.roll(len(text)) for _ in range(1 + dice.roll(3))} | {0, len(text)})
    return tuple(text[start:end] for start, end in pairwise(places))
