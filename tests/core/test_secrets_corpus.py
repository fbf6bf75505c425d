"""Secrets of some nineteen hundred kinds, made by chance, do not get through; look-alikes do."""

from time import process_time

import pytest
from detect_secrets.core.scan import scan_line
from detect_secrets.settings import default_settings

from cco_sidecar.core.context.redaction import without_userinfo
from cco_sidecar.core.secrets.redacting import redact, redact_value
from tests.core.secret_kinds_carriers import CARRIERS
from tests.core.secret_kinds_crossed import CROSSED, CROSSED_PASSWORDS
from tests.core.secret_kinds_found import FOUND
from tests.core.secret_kinds_fresh import FRESH
from tests.core.secret_kinds_human import HUMAN
from tests.core.secret_kinds_known import KNOWN
from tests.core.secret_kinds_last import LAST
from tests.core.secret_kinds_later import LATER
from tests.core.secret_kinds_wild import WILD
from tests.core.secret_look_alikes import LOOK_ALIKES
from tests.core.secret_samples import leaked, made

SEEDS = range(3)
CORPORA = {
    "known": KNOWN,
    "later": LATER,
    "fresh": FRESH,
    "wild": WILD,
    "carriers": CARRIERS,
    "found": FOUND,
    "last": LAST,
    "human": HUMAN,
    "crossed": CROSSED,
    "crossed passwords": CROSSED_PASSWORDS,
}
KINDS = [(corpus, kind) for corpus, kinds in CORPORA.items() for kind in kinds]


@pytest.mark.parametrize(("corpus", "kind"), KINDS)
def test_nothing_leaks(corpus: str, kind: str) -> None:
    """No eight characters in a row of any secret are left, whatever the secret is; each is counted."""
    for seed in SEEDS:
        text, secrets = made(CORPORA[corpus][kind], seed)
        shown, counts = redact(text)
        assert secrets
        assert leaked(secrets, shown) == [], shown
        assert counts.total() == shown.count("[REDACTED:") > 0
        assert redact(shown) == (shown, {})


@pytest.mark.parametrize("kind", [kind for kind in KNOWN if "\n" not in KNOWN[kind]])
@pytest.mark.parametrize("around", ["+{}\n", "#  {}  \r\n", "x\n\n> {}\n", "fix: {} (#12)\n\nbody\n"])
def test_in_diffs_and_messages(kind: str, around: str) -> None:
    """The signs of diffs, comments and quotations hide no secret."""
    text, secrets = made(KNOWN[kind], around)
    assert leaked(secrets, redact(around.format(text))[0]) == []


@pytest.mark.parametrize("kind", KNOWN)
def test_in_results(kind: str) -> None:
    """What an agent writes into its result is looked through, as a value and as the name of a member."""
    text, secrets = made(KNOWN[kind], "result")
    shown, count = redact_value({"decisions": [{"why": text}, {text: [text]}]})
    assert leaked(secrets, str(shown)) == []
    assert count >= 3


@pytest.mark.parametrize("template", LOOK_ALIKES)
def test_look_alike_stays(template: str) -> None:
    """Hashes, identifiers, public keys, data, names, placeholders and code are not touched."""
    for seed in SEEDS:
        text, _ = made(template, seed)
        assert redact(text) == (text, {})


def test_the_corpora_are_large() -> None:
    """They are as large as the documents say."""
    assert len(KNOWN) >= 200
    assert len(LATER) >= 150
    assert len(FRESH) >= 60
    assert len(LOOK_ALIKES) >= 100
    assert all(len(kinds) >= 100 for kinds in CORPORA.values())
    assert not set(KNOWN) & set(FRESH)
    assert not set(LATER) & set(FRESH)


@pytest.mark.parametrize(
    "template",
    [
        "https://joe:%an20%@h.example/a.git",
        "https://%an40%@h.example/a.git",
        "https://h.example/a.git?private_token=%an20%",
    ],
)
def test_remote_urls(template: str) -> None:
    """A remote's URL has no credentials left, of whatever form."""
    text, secrets = made(template, 0)
    assert leaked(secrets, without_userinfo(text)) == []
    assert leaked(secrets, redact(text)[0]) == []


@pytest.mark.parametrize("branch", ["fix/ghp_%an36%", "release-glpat-%u20%", "wip-%hex8%-AKIA%up16%"])
def test_branches(branch: str) -> None:
    """A token in the name of a branch is replaced."""
    text, secrets = made(branch, 0)
    assert leaked([one for one in secrets if len(one) > 8], redact(text)[0]) == []


@pytest.mark.parametrize("kind", ["RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "EC PRIVATE KEY"])
def test_key_without_its_beginning(kind: str) -> None:
    """A hunk of a diff can begin within a key."""
    text, secrets = made(f" %b64%\n-%b64%\n+%b64%\n %b40%==\n -----END {kind}-----\n", 0)
    assert leaked(secrets, redact(text)[0]) == []


def test_public_part_of_a_pair_stays() -> None:
    """Of a key and a certificate in one file, the certificate stays."""
    text, secrets = made(
        "-----BEGIN CERTIFICATE-----\n~pem4~\n-----END CERTIFICATE-----\n"
        "-----BEGIN PRIVATE KEY-----\n%pem4%\n-----END PRIVATE KEY-----\n",
        0,
    )
    shown, counts = redact(text)
    assert leaked(secrets, shown) == []
    assert counts == {"private-key": 1}
    assert shown.startswith(text.partition("-----BEGIN PRIVATE")[0])


@pytest.mark.parametrize(("corpus", "kind"), KINDS[::10])
def test_a_second_opinion(corpus: str, kind: str) -> None:
    """What detect-secrets finds in every tenth kind of the corpora, its entropy included, is redacted by ours, too."""
    with default_settings():
        text, secrets = made(CORPORA[corpus][kind], "second")
        shown = redact(text)[0]
        for line in text.splitlines():
            for found in scan_line(line):
                value = found.secret_value or ""
                ours = len(value) >= 8 and any(value in one or one in value for one in secrets)
                assert not ours or value not in shown, found.type


SLOW = [
    "password",
    "a1b2C3d4",
    "-----BEGIN PRIVATE KEY-----\n",
    "://u:",
    'key="',
    "A1A1A1A1/",
    "kind: Secret\n",
    "\\\\",
    "a.b-",
]


@pytest.mark.parametrize("piece", SLOW)
def test_time_is_linear(piece: str) -> None:
    """Four times the text takes at most eight times the processor's time, on text made to be slow."""

    def seconds(text: str) -> float:
        start = process_time()
        redact(text)
        return process_time() - start

    text = piece * (50_000 // len(piece))
    assert min(seconds(text * 4) for _ in range(3)) < 8 * min(seconds(text) for _ in range(3)) + 0.05
