"""Samples made as the tests run: templates whose fields become characters by chance, so no secret is ever written down.

``%an36%`` is a secret of 36 letters and digits, ``~hex40~`` a text that is none. The names of fields are those of
``ALPHABETS``, and ``uuid``, ``word`` (two words and a number), ``human`` (a password as
people choose them), ``basic`` (user and password in base64), ``jwt``, ``pem`` and ``peml`` (lines of base64, the latter
with escaped line ends).
"""

import base64
import json
import random
import re
import string
import uuid

LETTERS_AND_DIGITS = string.ascii_letters + string.digits
ALPHABETS = {
    "an": LETTERS_AND_DIGITS,
    "low": string.ascii_lowercase + string.digits,
    "up": string.ascii_uppercase + string.digits,
    "hex": "0123456789abcdef",
    "HEX": "0123456789ABCDEF",
    "d": string.digits,
    "al": string.ascii_letters,
    "b": LETTERS_AND_DIGITS + "+/",
    "u": LETTERS_AND_DIGITS + "-_",
    "pw": LETTERS_AND_DIGITS + "!#-_.^*",
    "sg": LETTERS_AND_DIGITS + "!@#$%^&*+=_-",
    "bt": string.ascii_uppercase + "234567",
}
_WORDS = "sunny maple river copper falcon orchid winter pepper hunter dragon velvet cobalt tiger summit marble"
WORDS = _WORDS.split()
FIELD = re.compile(r"([%~])(an|al|low|up|hex|HEX|d|bt|b|u|sg|pw|uuid|human|word|basic|jwt|peml|pem)(\d*)\1")


def made(template: str, seed: object) -> tuple[str, list[str]]:
    """Fill the template; give the text and the secrets in it, those of several lines line by line."""
    chance = random.Random(f"{template}{seed}")
    secrets: list[str] = []

    def fill(field: re.Match[str]) -> str:
        text, parts = _made(chance, field[2], int(field[3] or 0))
        if field[1] == "%":
            secrets.extend(parts)
        return text

    return FIELD.sub(fill, template), secrets


def leaked(secrets: list[str], shown: str) -> list[str]:
    """Give the secrets of which eight characters in a row are still there."""
    return [one for one in secrets if any(one[at : at + 8] in shown for at in range(max(1, len(one) - 7)))]


def characters(chance: random.Random, name: str, count: int) -> str:
    """Give characters by chance; where they are letters and digits, some of both."""
    while True:
        text = "".join(chance.choice(ALPHABETS[name]) for _ in range(count))
        mixed = any(one.isdigit() for one in text) and any(one.isalpha() for one in text)
        if (mixed or count < 8 or name not in ("an", "low", "up", "pw", "sg", "u")) and text[:1] + text[-1:] == "".join(
            one for one in text[:1] + text[-1:] if one.isalnum() or name == "b"
        ):
            return text


def _chosen(chance: random.Random) -> str:
    """Give a password as people choose them: ``tiger2024``, ``Maple@31``, ``Summ3rR1ver!``, ``river-Copper-77``."""
    one, two, number = chance.choice(WORDS), chance.choice(WORDS), chance.randrange(11, 9999)
    sign = chance.choice("!@#*.")
    return chance.choice(
        [
            f"{one}{two}{number}",
            f"{one}{number}{sign}",
            f"{one.capitalize()}@{number}",
            f"{one.capitalize()}{two.capitalize()}{number}",
            f"{one}_{two}_{number}{sign}",
            f"{one}-{two.capitalize()}-{number}",
            (one.capitalize() + two).translate(str.maketrans("eio", "310")) + sign + str(number),
            f"{one.upper()}{number}{sign}",
        ]
    )


def _made(chance: random.Random, name: str, count: int) -> tuple[str, list[str]]:
    if name in ALPHABETS:
        text = characters(chance, name, count)
    elif name == "uuid":
        text = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    elif name == "word":
        text = f"{chance.choice(WORDS).capitalize()}{chance.choice(WORDS)}{chance.randrange(10, 9999)}"
    elif name == "human":
        text = _chosen(chance)
    elif name == "basic":
        text = base64.b64encode(f"{chance.choice(WORDS)}:{characters(chance, 'an', 16)}".encode()).decode()
    elif name == "jwt":
        parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": characters(chance, "d", 10), "iat": chance.randrange(10**9)}]
        head = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        signature = characters(chance, "u", 43)
        return f"{head}.{signature}", [signature]
    else:
        body = characters(chance, "b", (count or 12) * 64 - 10) + "=="
        lines = [body[at : at + 64] for at in range(0, len(body), 64)]
        return ("\n" if name == "pem" else "\\n").join(lines), lines
    return text, [text]
