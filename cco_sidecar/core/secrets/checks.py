"""What spares a look-alike: whether a text where a secret would stand is made by chance, or chosen, or neither."""

import base64
import math
import re
from collections import Counter
from operator import add

_MOST_LOOKED_AT = 256
_LEAST_ENTROPY = 3.0
_LEAST_PASSWORD_ENTROPY = 2.3
_LEAST_SCRAMBLED = 16
_LEAST_STANDING_OUT = 8
_LEAST_ALONE = 10
_LEAST_JUMBLED = 8
_FEWEST_OF_NAMES = 0.24
_MOST_COMMON_PAIRS = 0.45
_MOST_WORDS = 0.34
_FEWEST_IN_A_WORD = 0.29

_DULL = re.compile(r"EXAMPLE|[xX]{4}|\.\.\.|\*{3}|1234567890abcdef1234|abcdefghijklmnop")
_PLACEHOLDER = re.compile(
    r"example|change[-_]?me|placeholder|redacted|x{4}|\*{3}|\.\.\.|…|your[-_a-z]|insert[-_]|replace[-_]|^<.*>$"
    r"|<[a-z_-]+>|\$\{|\$\(|\{\{|^\{.*\}|\w\(.*\)|[{%]\w+\}"
    r"|^\$[A-Za-z_]|(?-i:\$[A-Z][A-Z_]{3})|process\.env|os\.environ|abcdefgh|(?:^|[^a-z0-9])(?:test|tests|testing"
    r"|dummy|fake|sample|mock|todo|none|null)"
    r"(?:[^a-z]|$)",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?:[A-Za-z]+\d{0,3}|\d{1,4})?(?:[-_./:\\@#+,;|*=?!&%~^]+(?:[A-Za-z]+\d{0,3}|\d{1,4})?)*")
_PLACE = re.compile(r"[a-z][a-z0-9+.-]*://|\.{1,2}/|~/|/(?:[a-z][a-z._-]+/)+|[A-Za-z]:\\|data:")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_WORDS = re.compile(r"[a-z]{4,}|[A-Z]{6,}")
_PIECES = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_NUMBER = re.compile(
    r"(?:0x)?[0-9a-fA-F]+"
    r"|(?:[A-Za-z0-9]{1,12}[_-]){0,3}[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
)
_NUMBERS = re.compile(r"[0-9]+")
_MIXED = re.compile(r"(?=.*[a-z])(?=.*[A-Z]).*[0-9].*", re.DOTALL)
_SIGNS = re.compile(r"[_./:-]")
_GERRIT = re.compile(r"I[0-9a-f]{40}")
_ALGORITHM = re.compile(
    r"(?i)25519|(?:tls|ssl)v?1|[xd]448|pkcs|nistp\d|sha[-_]?\d{3}|aes[-_]?\d{3}|chacha|poly1305|mlkem|x86_64|amd64|arm64|argon2"
    r"|bcrypt|scrypt"
)
_OF_ALGORITHM = re.compile(
    r"(?i)(?:sha|md|aes|rsa|des|ripemd|blake|utf|base|crypt|hs|es|rs|ps|ed|x|p|tls|ssl|http|oauth|ipv|int"
    r"|ntlm)v?[-_]?\d[-_\d]{0,8}[a-z]{0,5}\d?"
)
_PASSWORD_NAME = re.compile(r"(?i)[a-z_]*(?:pass|pwd|secret)[a-z_]*\d?")
_HEAD = re.compile(r"\A(?:[A-Za-z]{1,12}[_-])+")
_TICKET = re.compile(r"[A-Za-z]+[-_.]\d+")  # "issue-123", "PEP-0263"
_OPERATOR = re.compile(r"[.:=%]{2}")
_CODE = re.compile(r"[\s(){}\[\]<>;,\\\"'`/|]|\\w|%[sdr]|\d:\d|^\W*\d+[a-z%]{0,3}\W*$|^\d{4}-\d\d")
_CHOSEN = re.compile(
    r"(?:[A-Z]?[a-z]+|[A-Z]{3,})(?:[A-Z][a-z]+)*[_@!.#$*-]?\d{2,8}(?:[_@!.#$-]\d{1,6})?[!@#$%^&*.?]{0,3}"
    r"|[A-Za-z]{3,}(?:[_-][A-Za-z]{3,}){1,4}[_-]?\d{2,6}[!@#$%^&*.?]{0,3}"
    r"|[A-Za-z]+\d[A-Za-z0-9]*[!@#*$.]\d{2,8}"
)
_INDEXED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\[-?\w+\](?:\.[A-Za-z_]\w*)*)+")
_KEY_BODY = re.compile(r"[A-Za-z0-9+/=]{24}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{4,}={0,2}")
_OWN_NAME = re.compile(r"pass|pwd|secret|token|key|utf|sha\d|md5|base64|int\d|version", re.IGNORECASE)

_DULL_PASSWORDS_TEXT = "password pass passwd pwd secret pw token user postgres root guest admin username changeit tiger"
_DULL_PASSWORDS = frozenset(_DULL_PASSWORDS_TEXT.split())
# The pairs of letters that make up most of English; a text made by chance has few of them.
_PAIRS_TEXT = (
    "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri "
    "ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us ac ot il tr ly nc et ut "
    "ss so rs un lo wa ge ie wh ee wi em ad ol rt po we na ul ni ts mo ow pa im mi ai sh ir su id os iv ia am"
)
_PAIRS = frozenset(_PAIRS_TEXT.split())


def entropy(text: str) -> float:
    """Give the bits for each character of ``text``, by how often each occurs in it."""
    counts = Counter(text).values()
    total = len(text)
    return -sum(count / total * math.log2(count / total) for count in counts)


def common_pairs(text: str) -> float:
    """Give the part of the pairs of characters in ``text`` that are common in words: random texts have about 0.1."""
    lower = text[:_MOST_LOOKED_AT].lower()
    return sum(map(_PAIRS.__contains__, map(add, lower, lower[1:]))) / max(len(lower) - 1, 1)


def is_wordy(text: str) -> bool:
    """Say whether the letters of ``text`` come in the order that words have."""
    return common_pairs(text) > _MOST_COMMON_PAIRS


def is_name(text: str, most: float = _MOST_WORDS) -> bool:
    """Say whether words make up much of ``text`` (``heightOfGeoidAboveWGS84``), or the signs between them."""
    if _GERRIT.fullmatch(text) or _ALGORITHM.search(text):
        return True
    if is_jumbled(text):
        return False
    if len(_SIGNS.findall(text)) * 10 > len(text) or text.count("/") * 12 > len(text):
        return True
    # In a text of one case, letters stand together by chance more often.
    fewest = _MOST_COMMON_PAIRS if text.islower() or text.isupper() else _FEWEST_IN_A_WORD
    return sum(len(word) for word in _WORDS.findall(text) if common_pairs(word) > fewest) > len(text) * most


def is_jumbled(text: str) -> bool:
    """Say whether a text changes between small letters, capitals and digits at every second character or so."""
    pieces = _PIECES.findall(text)
    if len(text) < _LEAST_JUMBLED or _MIXED.fullmatch(text) is None:
        return False
    return len(pieces) * 9 >= sum(map(len, pieces)) * 4 or (text.isalnum() and len(_NUMBERS.findall(text)) > 2)


def reads_as_words(text: str) -> bool:
    """Say whether a text is words with signs between them and small numbers behind them: ``b64Pwd``, ``tmp-dir-3``."""
    return _NAME.fullmatch(text) is not None and not is_jumbled(text) and common_pairs(text) >= _FEWEST_OF_NAMES


def is_no_example(value: str) -> bool:
    """Say whether a value of a known form is more than a documented example (``AKIA…EXAMPLE``) or a row of x."""
    return _DULL.search(value) is None and len(set(value)) > 5


def looks_random(value: str) -> bool:
    """Say whether a value of no known form looks made by chance: no placeholder, name, path or URL."""
    if not _is_own(value) or (value.startswith("/") and is_wordy(value)) or _INDEXED.fullmatch(value):
        return False
    if not any(one.isdigit() for one in value):
        return is_scrambled(value)
    return (
        any(one.isalpha() for one in value) and _NAME.fullmatch(value) is None and _entropy(value) >= _LEAST_ENTROPY
    ) or is_scrambled(value)


def looks_random_unquoted(value: str) -> bool:
    """Say the same of a value without quotes, which in source can be an attribute: ``ed25519.Ed25519PrivateKey``."""
    return _DOTTED.fullmatch(value) is None and looks_random(value)


def has_random_rest(value: str) -> bool:
    """Say whether what follows the words at the head of a value looks made by chance: ``acme_live_…``."""
    rest = _HEAD.sub("", value)
    return is_no_example(value) and looks_random(rest) and not is_name(rest) and not is_wordy(rest)


def is_scrambled(value: str) -> bool:
    """Say whether letters of both cases, 16 at least, are mixed up as no name is: ``TMSwPvPEiCeXmEBieGiX``."""
    if len(value) < _LEAST_SCRAMBLED or value.islower() or value.isupper() or not value.isascii():
        return False
    return _is_in_pieces(value) and not (is_wordy(value) or is_name(value))


def _is_in_pieces(value: str) -> bool:
    return len(_PIECES.findall(value)) * 18 >= len(value) * 5


def looks_chosen(value: str) -> bool:
    """Say whether a value looks like a password that a person chose: letters and digits or signs, no placeholder."""
    if not _is_own(value) or _MAIL.fullmatch(value) or _entropy(value) < _LEAST_PASSWORD_ENTROPY:
        return False
    letters = any(one.isalpha() for one in value)
    return (
        _PASSWORD_NAME.fullmatch(value) is None
        and _OF_ALGORITHM.fullmatch(value) is None
        and letters
        and (any(one.isdigit() for one in value) or any(one in "!@#^&" for one in value[1:]))
    )


def looks_chosen_unquoted(value: str) -> bool:
    """Say the same of a value without quotes, which in source can be a variable: ``password1``, ``Optional1``."""
    if not looks_chosen(value) or _INDEXED.fullmatch(value):
        return False
    if is_jumbled(value):
        return True
    if _CHOSEN.fullmatch(value) or (_is_in_pieces(value) and not is_name(value)):
        return _OWN_NAME.search(value) is None
    if _DOTTED.fullmatch(value):
        return False
    if not reads_as_words(value) or ("!" in value[1:-1] and any(one.isdigit() for one in value)):
        return True  # no language has names with an exclamation mark inside
    digits = sum(one.isdigit() for one in value)
    return value.isalnum() and digits > 1 and len(value) > 9 and _OWN_NAME.search(value) is None


def stands_out(value: str) -> bool:
    """Say whether a text looks like a password wherever it stands: letters and numbers, no name and no code."""
    if not looks_chosen(value) or len(value) < _LEAST_STANDING_OUT or not any(one.isdigit() for one in value):
        return False
    if _CODE.search(value) or _ALGORITHM.search(value) or _NUMBER.fullmatch(value) or _TICKET.fullmatch(value):
        return False
    if is_jumbled(value):
        return True
    if _OPERATOR.search(value) or _OWN_NAME.search(value):
        return False
    return _CHOSEN.fullmatch(value) is not None or _is_no_name(value)


def _is_chosen(value: str) -> bool:
    return _CHOSEN.fullmatch(value) is not None and _OWN_NAME.search(value) is None


def _is_no_name(value: str) -> bool:
    if _DOTTED.fullmatch(value) or is_name(value):
        return False
    return _is_in_pieces(value) or not (reads_as_words(value) or value.replace("_", "").replace("-", "").isalnum())


def is_default(value: str) -> bool:
    """Say whether what follows the name of a password in a call is one: ``getenv("PASSWORD", "…")``."""
    return looks_chosen(value) and _OWN_NAME.search(value) is None and len(value) >= _LEAST_STANDING_OUT


def is_value(value: str) -> bool:
    """Say whether what follows ``name=`` within a line is a password, and neither a word nor code."""
    return stands_out(value) or looks_chosen_unquoted(value)


def is_loud(value: str) -> bool:
    """Say whether a value is jumbled, or has signs in it that names have not."""
    return stands_out(value) and (is_jumbled(value) or any(one in "!#^*&%@" for one in value))


def is_loud_alone(value: str) -> bool:
    """Say whether a value that nothing names stands out, and has letters of both cases: ``joe:k3!Zq…``."""
    if not stands_out(value) or len(value) < _LEAST_ALONE or _MIXED.fullmatch(value) is None or is_wordy(value):
        return False
    return _is_in_pieces(value) and _CHOSEN.fullmatch(value) is None


def is_password(value: str) -> bool:
    """Say whether the password of a URL or an option is one: not a variable, nor what documents write there."""
    return (
        len(value) > 2
        and value.lower() not in _DULL_PASSWORDS
        and not (_PLACEHOLDER.search(value) or _PASSWORD_NAME.fullmatch(value))
        and "%s" not in value
    )


def is_option(value: str) -> bool:
    """Say whether what follows an option such as ``--password`` is a password, and neither a path nor a name."""
    if "/" in value or "=" in value[:-2] or not (looks_chosen(value) or is_scrambled(value)):
        return False
    return (
        _is_chosen(value)
        or (_is_in_pieces(value) and not is_name(value))
        or not reads_as_words(value)
        or (value.isalnum() and _OWN_NAME.search(value) is None)
    )


def is_scrambled_password(value: str) -> bool:
    """Say whether a value that follows its name after a space alone is a password, and not a word of a sentence."""
    return looks_chosen(value) and _is_in_pieces(value) and not reads_as_words(value.rstrip(".")) and not is_name(value)


def is_credential(value: str) -> bool:
    """Say whether what stands where only a credential can stand is one, and no placeholder."""
    if not _is_own(value):
        return False
    return is_scrambled(value) or (
        any(one.isdigit() for one in value) and _entropy(value) >= _LEAST_PASSWORD_ENTROPY and not is_wordy(value)
    )


def is_key_block(value: str) -> bool:
    """Say whether a block between BEGIN and END has a key in it; a program may name the two lines alone."""
    return _KEY_BODY.search(value) is not None and "..." not in value


def _is_own(value: str) -> bool:
    return _PLACEHOLDER.search(value) is None and _PLACE.match(value) is None


def _entropy(value: str) -> float:
    return entropy(value[:_MOST_LOOKED_AT])


def is_user_and_password(value: str) -> bool:
    """Say whether a value is ``user:password`` in base64, as HTTP's Basic and Docker's ``auth`` have it."""
    try:
        decoded = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode("utf-8")
    except ValueError:
        return False
    user, colon, password = decoded.partition(":")
    return bool(colon and user and decoded.isprintable()) and is_password(password)


def is_base64_secret(value: str) -> bool:
    """Say whether a value of a Kubernetes Secret is base64 of something, and no placeholder."""
    return _PLACEHOLDER.search(value) is None and _BASE64.fullmatch(value) is not None
