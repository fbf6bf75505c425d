"""Secrets of no known form: what looks made by chance, by itself or beside a word such as ``token``.

The kinds of credential are without number, and new ones come every week. Nearly all are long texts made by chance;
that is what is looked for here, and hashes, identifiers, public keys and data in base64 are told apart by what stands
around.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator

import re2

from cco_sidecar.core.context.secretchecks import common_pairs, is_name, is_no_example, is_scrambled, looks_random

NAME = "high-entropy"

_LEAST = 12
_LEAST_ALONE = 20  # shorter ones must be mixed up all the more
_LEAST_BASE64 = 28
_LEAST_HEX = 14
_LEAST_PREFIXED = 30
_MOST_ALONE = 200
_MOST = 4096
_BEFORE = 90
_ABOVE = 320
_MOST_COMMON_PAIRS = 0.4
_MOST_BESIDE_A_LABEL = 0.5
_MOST_WORDS_BESIDE_A_LABEL = 0.5
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
_TOKEN_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+/-")
_DIGITS = re.compile(rb"0+")
_PUBLIC = (b"age1", b"npub1", b"AAAAB3NzaC1", b"AAAAC3NzaC1", b"AAAAE2VjZHNh")
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_TWO_PARTS = re.compile(r"[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}")
_UUID = re.compile(r"(?:[A-Za-z0-9]{1,12}[_-]){0,3}[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PREFIXED = re.compile(r"([A-Za-z][A-Za-z0-9]{1,11}(?:[_-][A-Za-z0-9]{1,8}){0,2})_([A-Za-z0-9]{30,})")
_PREFIX_OF_HASH = re.compile(
    r"(?i)sha|md5|hash|digest|commit|rev|build|chunk|git|blob|etag|cache|img|image|file|blake|crc|id$|uuid|test|abi|arg"
)

_LABEL = re2.compile(
    rb"(?i:passw|passphrase|passcode|pwd|secret|token|credential|bearer|webhook|authorization"
    rb"|connection_?string|\bdsn\b"
    rb"|(?:\b|_)pat(?:[^a-z]|$)|\botp|\btotp|\bseed|api-?key|private|encrypt|access(?:[^a-z]|$)|\bapi[\"']?\s*[=:])"
    rb"|[kK]eys?(?:[^a-z]|$)|KEYS?(?:[^A-Z]|$)|(?i:keys?)[\"' \t:=]|[aA]uth(?:[^a-z]|$)|AUTH(?:[^A-Z]|$)"
    rb"|[cC]reds?(?:[^a-z]|$)|[lL]ogin[\"']?\s*[=,]|\bsas\b|Pass(?:[^a-z]|$)|[_-]pass\b|PASS"
)
_VENDOR_WORDS = (
    "abuseipdb adafruit alchemy algolia amplitude apify apollo asana assemblyai auth0 baremetrics beamer bitly "
    "bittrex calendly campaignmonitor chargebee checkout clearbit clickup cloudflare cloudinary cloudsmith codacy "
    "codeclimate codecov coinbase coinmarketcap coveralls crowdin cypress datadog deepgram deepl deepseek "
    "digicert discord docusign elevenlabs etherscan fastly finicity finnhub flickr freshbooks freshdesk geocod "
    "gitter gocardless heroku honeycomb hubspot hunter infura intercom ipinfo jumpcloud kraken kucoin lastfm "
    "livekit lokalise looker mailchimp mailgun mapbox mattermost messagebird mistral mixpanel monday nasa netlify "
    "newrelic nightfall nytimes okta onfido openai openweather opsgenie optimizely pagerduty pastebin paypal "
    "pinecone pingdom pipedrive plaid postmark pubnub pusher rapidapi razorpay recaptcha rollbar runway scaleway "
    "segment sendbird sendgrid sendinblue sentry shodan shutterstock smtp2go snyk sonar spotify squarespace "
    "statuspage storyblok stytch sumologic surge tavily telnyx thingsboard todoist trello twilio twitch twitter "
    "typeform unsplash virustotal vonage wandb weather weatherbit webex wepay woocommerce yelp youtube zendesk "
    "zoho zoom"
)
_VENDOR = re2.compile(
    rb"(?i)(?:"
    + "|".join(_VENDOR_WORDS.split()).encode()
    + rb")[\w.-]{0,30}[\"']?\s*(?:[:=]|=>|,|\(|\s-[a-z][ \t])\s*[\"'`]?$"
)
_OWN_LABEL = re2.compile(rb"(?i)[A-Za-z0-9_-]{0,40}(?:secret|token|key|access|passw(?:or)?d|auth)[_-]+")
_NO_LABEL = re2.compile(
    rb"(?i)hash|digest|checksum|sha-?[1-9]|md5|fingerprint|integrity|etag|commit|revision|\brev\b|\boid\b"
    rb"|public|\bpub|cert"
    rb"|thumbprint|cache|primary|foreign|partition|idempoten|key_?id|\bkid\b|nonce|\bsalt|guid|uuid|trace"
    rb"|version|keyword"
    rb"|(?:^|[^a-z])id[\"']?\s*[:=]|keygrip|h1:|narhash|ssh-|ecdsa|data:[a-z]+/|base64,|charset|alphabet"
    rb"|signature|tokeniz|tree |object|websocket|algorithm|://"
)
_NOT_ALONE = re2.compile(
    rb"(?i)hash|digest|checksum|sha-?[1-9]|md5|fingerprint|integrity|etag|public|\bpub|cert|thumbprint|h1:|ssh-|ecdsa"
    rb"|data:|base64,|charset|alphabet|signature|mappings|salt|nonce|\bsig\b|encoded|websocket|://[^\s\"'<>?]*$"
    rb"|(?-i:[a-z]I|_i|\bi|\bI|_I|[A-Z]I)[dD](?:entifier)?s?[\"']?\s*(?:[:=]|=>)\s*[\"'\[(b]*$"
)
_DETACHED = re2.compile(
    rb"(?i)(?:^|[^a-z])(?:default|values?|val|text|string|content|data)[\"']?\s*(?:[:=]|=>|>)\s*[\"'`|>-]*\s*$"
)
_BREAK = re.compile(rb"[@#/]\s*$")
_FILE_ENDING = re.compile(rb"\.[a-z]{1,5}\b")
_BASE64_LINE = re.compile(rb"[\s\"'+>#,;b(\\-]*[A-Za-z0-9+/_-]{40,}=*(?:\\n)?[\s\"'+,;)\\]*")


def guesses(data: bytes) -> Iterator[tuple[int, int]]:
    """Give where the text, in UTF-8, has what looks like a secret of no known form."""
    blocks = _public_blocks(data)
    for match in _CANDIDATE.finditer(data):
        start, end = match.span()
        if end - start < _LEAST and not _continues(data, start):
            continue
        while start and data[start - 1] in _TOKEN_BYTES and end - start < _MOST:
            start -= 1
        while end < len(data) and data[end] in _TOKEN_BYTES and end - start < _MOST:
            end += 1
        start += _body(data[start:end])
        token = data[start:end]
        if _is_secret(data, start, end, token) and not _inside(blocks, start):
            yield start, end


def _continues(data: bytes, start: int) -> bool:
    return start > 0 and data[start - 1] in _TOKEN_BYTES


def _body(token: bytes) -> int:
    """Give where a token begins that has its own label before it: ``acme-secret-3f2a…``."""
    found = _OWN_LABEL.match(token)
    return found.end() if found else 0


def _is_secret(data: bytes, start: int, end: int, token: bytes) -> bool:
    if not _LEAST <= len(token) <= _MOST or common_pairs(text := token.decode()) >= _MOST_BESIDE_A_LABEL:
        return False
    classes = token.translate(_PARTS)
    letters = classes.count(b"a") + classes.count(b"A")
    if letters < 2 or not is_no_example(text) or token.startswith(_PUBLIC):
        return False
    if _speaks_for_itself(data, start, end, text):
        return True
    return _can_be_secret(text, classes) and _is_labelled(data, start, end)


def _can_be_secret(text: str, classes: bytes) -> bool:
    """Say whether a text is a secret if a word beside it says so."""
    if _UUID.fullmatch(text) or _HEX.fullmatch(text):
        return len(text) >= _LEAST_HEX
    pieces = len(_PIECES.findall(classes))
    if pieces == 1:
        return len(text) >= _LEAST_ALONE and common_pairs(text) < _MOST_OF_LETTERS
    return pieces * 5 >= len(text) and not is_name(text, _MOST_WORDS_BESIDE_A_LABEL) and looks_random(text)


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
    if digits < 2 or length > _MOST_ALONE or pieces * 4 < length:
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
    return _NOT_ALONE.search(data[line:start]) is not None


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
    if _has_label(before) or (_VENDOR.search(before) and not _NO_LABEL.search(before)):
        return True
    if _DETACHED.search(before) is None or _NO_LABEL.search(before):
        return False
    return _has_label(data[max(0, start - _ABOVE) : line].rpartition(b"}")[2])


def _has_label(text: bytes) -> bool:
    found = list(_LABEL.finditer(text))
    if not found:
        return False
    # "cache_key", "public key": what makes it no secret can stand before the word, too.
    return _NO_LABEL.search(text[max(0, found[-1].start() - 12) :]) is None


def _public_blocks(data: bytes) -> list[tuple[int, int]]:
    """Give where certificates and public keys are."""
    if b"-----BEGIN " not in data:
        return []
    return [match.span() for match in _BLOCK.finditer(data) if b"PRIVATE" not in match.group()[:60]]


def _inside(blocks: list[tuple[int, int]], place: int) -> bool:
    at = bisect_right(blocks, (place, place)) - 1
    return at >= 0 and blocks[at][0] <= place < blocks[at][1]
