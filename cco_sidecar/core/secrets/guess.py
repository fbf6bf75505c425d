"""Secrets of no known form: what looks made by chance, by itself or beside a word such as ``token``.

The kinds of credential are without number, and new ones come every week. Nearly all are long texts made by chance;
that is what is looked for here, and hashes, identifiers, public keys and data in base64 are told apart by what stands
around.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

import re2

from cco_sidecar.core.secrets.checks import common_pairs, is_name, is_no_example, is_scrambled, looks_random
from cco_sidecar.core.secrets.labels import DETACHED, LABEL, NO_LABEL, NOT_ALONE, OWN_LABEL, VENDOR

NAME = "high-entropy"

_LEAST = 12
_LEAST_ALONE = 20  # shorter ones must be mixed up all the more
_LEAST_BASE64 = 28
_LEAST_WITH_FEW_DIGITS = 24
_LEAST_HEX = 14
_LEAST_PREFIXED = 30
_MOST_ALONE = 200
_MOST = 4096
_FEW = 80
_MOST_OF_PARTS = 400
_BEFORE = 90
_ABOVE = 320
_MOST_COMMON_PAIRS = 0.4
_MOST_BESIDE_A_LABEL = 0.5
_MOST_WORDS_BESIDE_A_LABEL = 0.5
_LONGEST_PIECE = 4  # on average; in texts of one case, which change less often, 5
_MOST_OF_LETTERS = 0.3
_MOST_OF_ONE_CASE = 0.2

_CANDIDATE = re2.compile(
    rb"(?:[A-Za-z_+/-]{0,15}[0-9][A-Za-z0-9_+/-]{7,}|[A-Za-z_+/-]{8,}[0-9][A-Za-z0-9_+/-]{0,7}"
    rb"|[a-z]{20,}|[A-Z]{20,}|[A-Za-z_+/-]*(?:[a-z][A-Z]{1,3}[a-z]{1,2}[A-Z]{1,3}[a-z]{1,3}[A-Z]"
    rb"|[A-Z]{3}[a-z]{1,3}[A-Z]{2})[A-Za-z_+/-]*)={0,2}"
)
_BLOCK = re2.compile(rb"-----BEGIN [A-Z0-9 ]{4,40}-----(?:[^-]|-{1,4}[^-])*?-----END ")
_PARTS = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-", b"A" * 26 + b"a" * 26 + b"0" * 10 + b"++__"
)
_PIECES = re.compile(rb"A?a+|A+|0+")
_TOKEN_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+/-"
_DIGITS = re.compile(rb"0+")
# What files of pictures, fonts, archives and programs begin with, in base64.
_PICTURES = (
    b"iVBORw0KGgo",
    b"R0lGOD",
    b"/9j/",
    b"UklGR",
    b"Qk0",
    b"d09GM",
    b"d09G",
    b"AAEAAAA",
    b"T1RUTw",
    b"JVBERi0",
    b"UEsDB",
    b"H4sIA",
    b"AGFzbQ",
    b"PHN2Zy",
    b"PD94bWw",
    b"SUkq",
    b"TVqQ",
    b"f0VMRg",
)
_SVG_PATH = re.compile(rb"[MmLlHhVvCcSsQqTtAaZz0-9-]+")
_PUBLIC = (b"age1", b"npub1", b"AAAAB3NzaC1", b"AAAAC3NzaC1", b"AAAAE2VjZHNh", *_PICTURES)
_HEX = re.compile(r"(?:0x)?(?:[0-9a-f]+|[0-9A-F]+)")
_OF_CHECKSUMS = (b"h1:", b"sha1:", b"sha256:", b"sha512:", b"md5:", b"sha1=", b"sha256=", b"sha512=")
_INTEGRITY = (b"sha1-", b"sha256-", b"sha384-", b"sha512-")
_HEX_BYTES = re.compile(rb"[0-9a-fA-F-]+")
_TWO_PARTS = re.compile(r"[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}")
_UUID = re.compile(r"(?:[A-Za-z0-9]{1,12}[_-]){0,3}[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PREFIXED = re.compile(r"([A-Za-z][A-Za-z0-9]{1,11}(?:[_-][A-Za-z0-9]{1,8}){0,2})_([A-Za-z0-9]{30,})")
_PREFIX_OF_HASH = re.compile(
    r"(?i)sha|md5|hash|digest|commit|rev|build|chunk|git|blob|etag|cache|img|image|file|blake|crc|id$|uuid|test|abi|arg"
)

_PARTS_BEFORE = re.compile(rb"(?<![A-Za-z0-9_.-])(?:[A-Za-z0-9_-]{5,100}\.)+\Z")
_PARTS_AFTER = re.compile(rb"(?:\.[A-Za-z0-9_-]{5,})+")
_WORDS = re.compile(rb"(?:[A-Za-z]{1,12}[/_+-])+")
_BREAK = re.compile(rb"[@#/]\s*$")
_FILE_ENDING = re.compile(rb"\.[a-z]{1,5}\b")
_BASE64_LINE = re.compile(rb"[\s\"'+>#,;b(\\-]*[A-Za-z0-9+/_-]{40,}=*(?:\\n)?[\s\"'+,;)\\]*")


def guesses(data: bytes, known: Iterable[tuple[int, int]] = ()) -> Iterator[tuple[int, int]]:
    """Give where the text, in UTF-8, has what looks like a secret of no known form, and is not ``known`` as one."""
    of_form = list(known)
    blocks = sorted((*_public_blocks(data), *of_form))
    begins = {end: start for start, end in sorted(of_form, reverse=True)}
    looked_at = 0
    for match in _CANDIDATE.finditer(data):
        start, end = match.span()
        if end <= looked_at or (end - start < _LEAST and not _continues(data, start)) or _inside(blocks, start):
            continue
        start -= _token_bytes_before(data, start)
        looked_at = end = end + _token_bytes_after(data, end)
        start += _body(data[start:end])
        # "try-AKIA…": a form says better than a guess where its secret begins, and the word before it is none of it.
        if end in begins and (begins[end] <= start or _WORDS.fullmatch(data, start, begins[end])):
            continue
        if _is_secret(data, start, end, data[start:end]):
            yield start - _parts_before(data, start), end + _parts_after(data, end)


def _parts_before(data: bytes, start: int) -> int:
    """Say how many bytes before a secret are other parts of it, joined to it by full stops."""
    found = _PARTS_BEFORE.search(data, max(0, start - _MOST_OF_PARTS), start)
    return start - found.start() if found and _is_part(found[0]) else 0


def _parts_after(data: bytes, end: int) -> int:
    found = _PARTS_AFTER.match(data, end, end + _MOST_OF_PARTS)
    return found.end() - end if found and _is_part(found[0]) else 0


def _is_part(text: bytes) -> bool:
    return any(48 <= one <= 57 for one in text) and not text.islower()


def _continues(data: bytes, start: int) -> bool:
    return start > 0 and data[start - 1] in _TOKEN_BYTES


def _token_bytes_before(data: bytes, start: int) -> int:
    for most in (_FEW, _MOST):
        before = data[max(0, start - most) : start]
        count = len(before) - len(before.rstrip(_TOKEN_BYTES))
        if count < most:
            break
    return count


def _token_bytes_after(data: bytes, end: int) -> int:
    for most in (_FEW, _MOST):
        after = data[end : end + most]
        count = len(after) - len(after.lstrip(_TOKEN_BYTES))
        if count < most:
            break
    return count


def _body(token: bytes) -> int:
    """Give where a token begins that has its own label before it: ``acme-secret-3f2a…``."""
    if b"_" not in token and b"-" not in token:
        return 0
    found = OWN_LABEL.match(token)
    return found.end() if found else 0


def _is_secret(data: bytes, start: int, end: int, token: bytes) -> bool:
    if _is_checksum(data, start, token) or not _LEAST <= len(token) <= _MOST:
        return False
    classes = token.translate(_PARTS)
    pieces = len(_PIECES.findall(classes))
    # Nearly all are names; to see that early is most of the speed.
    if pieces > 1 and pieces * 5 < len(token) and not _is_long_behind_sign(token) and not _HEX_BYTES.fullmatch(token):
        return False
    text = token.decode()
    if classes.count(b"a") + classes.count(b"A") < 2 or common_pairs(text) >= _MOST_BESIDE_A_LABEL:
        return False
    if token.startswith(_PUBLIC) or _SVG_PATH.fullmatch(token) or not is_no_example(text):
        return False
    return _speaks_for_itself(data, start, end, text) or (
        _can_be_secret(text, classes) and _is_labelled(data, start, end)
    )


def _is_checksum(data: bytes, start: int, token: bytes) -> bool:
    return token.startswith(_INTEGRITY) or data[max(0, start - 8) : start].endswith(_OF_CHECKSUMS)


def _is_long_behind_sign(token: bytes) -> bool:
    return len(token) - token.rfind(b"_") > _LEAST_PREFIXED and b"_" in token


def _can_be_secret(text: str, classes: bytes) -> bool:
    """Say whether a text is a secret if a word beside it says so."""
    if _UUID.fullmatch(text) or _HEX.fullmatch(text):
        return len(text) >= _LEAST_HEX
    pieces = len(_PIECES.findall(classes))
    if pieces == 1:
        return len(text) >= _LEAST_ALONE and common_pairs(text) < _MOST_OF_LETTERS
    longest = _LONGEST_PIECE + (len(text) >= _LEAST_ALONE and not (b"a" in classes and b"A" in classes))
    return pieces * longest > len(text) and not is_name(text, _MOST_WORDS_BESIDE_A_LABEL) and looks_random(text)


def _speaks_for_itself(data: bytes, start: int, end: int, text: str) -> bool:
    """Say whether a text needs no word beside it: mixed up as no name is, or behind a prefix, and no data."""
    if _UUID.fullmatch(text) or _HEX.fullmatch(text):
        return False
    if _TWO_PARTS.fullmatch(text):
        return True  # so Mailgun makes them
    if _is_prefixed(text):
        return not (_FILE_ENDING.match(data, end) or _is_named_as_data(data, start))
    if not _is_mixed_up(text) or _FILE_ENDING.match(data, end) or _is_named_as_data(data, start):
        return False
    return not _is_among_lines_of_data(data, start, end)


def _is_mixed_up(text: str) -> bool:
    """Say whether a text is mixed up as no name is, so that no word beside it has to say that it is a secret."""
    length = len(text)
    classes = text.encode().translate(_PARTS)
    pieces = len(_PIECES.findall(classes))
    digits = classes.count(b"0")
    few = digits == 1 and length >= _LEAST_WITH_FEW_DIGITS and pieces * 9 >= length * 4
    if (digits < 2 and not few) or length > _MOST_ALONE or pieces * 4 < length:
        return False
    if b"a" not in classes or b"A" not in classes:
        return length >= _LEAST_PREFIXED and digits > 3 and text.isalnum() and _is_of_one_case(text)
    if length < (_LEAST_BASE64 if b"+" in classes else _LEAST):
        return False
    runs = len(_DIGITS.findall(classes))
    if (digits > 2 and runs == 1) or (
        length < _LEAST_ALONE and (runs < 3 or pieces * 5 < length * 2 or b"_" in classes)
    ):
        return False  # a name with a number in it
    return common_pairs(text) < _MOST_COMMON_PAIRS + pieces / length - 0.25 and not is_name(text)


def _is_of_one_case(text: str) -> bool:
    return common_pairs(text) < _MOST_OF_ONE_CASE and not is_name(text)


def _is_prefixed(text: str) -> bool:
    """Say whether a text is a short word, an underscore, and a long text made by chance: ``nfp_…``."""
    found = _PREFIXED.fullmatch(text)
    if found is None or _PREFIX_OF_HASH.search(found[1]):
        return False
    classes = found[2].encode().translate(_PARTS)
    if b"a" in classes and b"A" in classes:
        return is_scrambled(found[2])
    return classes.count(b"0") > 3 and len(_PIECES.findall(classes)) * 4 > len(classes)


def _is_named_as_data(data: bytes, start: int) -> bool:
    """Say whether words before it on the line say that it is a hash, a public key or the like."""
    line = data.rfind(b"\n", max(0, start - _BEFORE), start) + 1 or max(0, start - _BEFORE)
    return NOT_ALONE.search(data[line:start]) is not None


def _is_among_lines_of_data(data: bytes, start: int, end: int) -> bool:
    """Say whether it stands on one of many lines that hold nothing but base64."""
    line = data.rfind(b"\n", max(0, start - 400), start) + 1 or max(0, start - 400)
    below = data.find(b"\n", end, end + 16)
    if below < 0 or not _BASE64_LINE.fullmatch(data, line, below):
        return False
    above = data.rfind(b"\n", max(0, line - 401), max(0, line - 1)) + 1
    after = data.find(b"\n", below + 1, below + 400)
    return bool(
        (line and _BASE64_LINE.fullmatch(data, above, line - 1))
        or _BASE64_LINE.fullmatch(data, below + 1, after if after > 0 else min(len(data), below + 400))
    )


def _is_labelled(data: bytes, start: int, end: int) -> bool:
    """Say whether a word shortly before, on the line or as the name of a name and value, says that it is a secret."""
    line = data.rfind(b"\n", max(0, start - _BEFORE), start) + 1 or max(0, start - _BEFORE)
    before = data[line:start]
    if _BREAK.search(before) or _FILE_ENDING.match(data, end):
        return False
    if _has_label(before) or (VENDOR.search(before) and not NO_LABEL.search(before)):
        return True
    if DETACHED.search(before) is None or NO_LABEL.search(before):
        return False
    return _has_label(data[max(0, start - _ABOVE) : line].rpartition(b"}")[2])


def _has_label(text: bytes) -> bool:
    found = list(LABEL.finditer(text))
    if not found:
        return False
    # "cache_key", "public key": what makes it no secret can stand before the word, too.
    return NO_LABEL.search(text[max(0, found[-1].start() - 12) :]) is None


def _public_blocks(data: bytes) -> list[tuple[int, int]]:
    """Give where certificates and public keys are."""
    if b"-----BEGIN " not in data:
        return []
    return [match.span() for match in _BLOCK.finditer(data) if b"PRIVATE" not in match.group()[:60]]


def _inside(blocks: list[tuple[int, int]], place: int) -> bool:
    at = bisect_right(blocks, (place, place)) - 1
    return at >= 0 and blocks[at][0] <= place < blocks[at][1]
