"""Secrets inside text are replaced, whatever stands around them; what only looks like one stays.

The secrets are put together as the tests run: no scanner shall stumble over this file.
"""

import base64
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cco_sidecar.core.secrets.redacting import redact, redact_value

ALPHABET = "aZ3kQ9xW7mB2vR8tY5nC4pL6sD1fG0hJ"


def letters(count: int) -> str:
    """Give letters and digits without a pattern."""
    return (ALPHABET * (count // len(ALPHABET) + 1))[:count]


def hexes(count: int) -> str:
    return hashlib.sha512(b"seed").hexdigest()[:count]


def uppers(count: int) -> str:
    return base64.b32encode(hashlib.sha512(b"seed").digest()).decode()[:count]


def armor(kind: str, lines: int = 4) -> str:
    body = "\n".join(letters(64) for _ in range(lines))
    return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----"


UUID = "-".join((hexes(8), hexes(4), "4" + hexes(3), "a" + hexes(3), hexes(12)))
AWS_ID = "AK" + "IA" + uppers(16)
PASSWORD = "s3cr" + "Et-9fK2q"
JWT = ".".join(("ey" + "J" + letters(30), "ey" + "J" + letters(40), letters(43)))

SECRETS = {
    "aws-access-key-id": AWS_ID,
    "aws-secret-access-key": "aws_secret_access_key = '{}'|" + letters(38) + "/+",
    "github-token": "gh" + "p_" + letters(36),
    "github-token o": "gh" + "o_" + letters(36),
    "github-token s": "gh" + "s_" + letters(36),
    "github-token u": "gh" + "u_" + letters(36),
    "github-token r": "gh" + "r_" + letters(36),
    "github-fine-grained-token": "github" + "_pat_" + letters(22) + "_" + letters(59),
    "gitlab-token": "gl" + "pat-" + letters(20),
    "slack-token": "xo" + "xb-123456789012-" + letters(24),
    "slack-webhook": "https://hooks.slack" + ".com/services/{}|T" + letters(9) + "/B" + letters(40),
    "stripe-key": "sk" + "_live_" + letters(24),
    "stripe-key r": "rk" + "_live_" + letters(24),
    "google-api-key": "AI" + "za" + letters(35),
    "google-oauth-secret": "GOC" + "SPX-" + letters(28),
    "anthropic-key": "sk-" + "ant-api03-" + letters(80),
    "openai-key": "sk-" + letters(48),
    "openai-key project": "sk-" + "proj-" + letters(60),
    "huggingface-token": "hf" + "_" + letters(34),
    "npm-token": "np" + "m_" + letters(36),
    "npm-token rc": "//registry.npmjs.org/:_auth" + "Token={}|" + letters(30),
    "pypi-token": "py" + "pi-" + letters(100),
    "digitalocean-token": "do" + "p_v1_" + hexes(64),
    "sendgrid-key": "S" + "G." + letters(22) + "." + letters(43),
    "twilio-key": "S" + "K" + hexes(32),
    "twilio-auth-token": "TWILIO_AUTH = '{}'|" + hexes(32),
    "mailgun-key": "key" + "-" + hexes(32),
    "telegram-bot-token": "123456789" + ":AA" + letters(33),
    "discord-webhook": "https://discord.com/api/webhooks/123456789012345678/{}|" + letters(68),
    "high-entropy discord": "M" + letters(23) + "." + letters(6) + "." + letters(27),
    "jwt": JWT,
    "private-key": armor("RSA PRIVATE " + "KEY"),
    "private-key plain": armor("PRIVATE " + "KEY", 1),
    "private-key ssh": armor("OPENSSH PRIVATE " + "KEY"),
    "pgp-private-key": armor("PGP PRIVATE " + "KEY BLOCK"),
    "azure-account-key": "AccountName=a;Account" + "Key={};EndpointSuffix=core|" + letters(86) + "==",
    "azure-sas-signature": "https://a.blob.core/x?sv=2022&sig={}&se=1|" + letters(43) + "%3D",
    "heroku-key": "HEROKU_API_KEY: {}|" + UUID,
    "cloudflare-token": "CLOUDFLARE_API = '{}'|" + letters(40),
    "datadog-key": "DD_API = '{}'|" + hexes(32),
    "new-relic-key": "NR" + "AK-" + uppers(27),
    "linear-key": "lin" + "_api_" + letters(40),
    "notion-token": "secret" + "_" + letters(43),
    "notion-token ntn": "nt" + "n_" + letters(46),
    "shopify-token": "shp" + "at_" + hexes(32),
    "square-token": "sq0" + "atp-" + letters(22),
    "postman-key": "PM" + "AK-" + hexes(24) + "-" + hexes(34),
    "doppler-token": "dp" + ".pt." + letters(43),
    "vault-token": "hv" + "s." + letters(90),
    "databricks-token": "da" + "pi" + hexes(32),
    "atlassian-token": "ATA" + "TT3" + letters(60),
    "grafana-token": "gl" + "sa_" + letters(32) + "_" + hexes(8),
    "age-secret-key": "AGE-SECRET" + "-KEY-1" + uppers(58),
    "url-password": "postgres://me:{}@db.internal:5432/x|" + PASSWORD,
    "authorization": "Authorization: Bearer {}|" + letters(40),
    "authorization basic": "'Authorization': 'Basic {}'|" + letters(24) + "==",
    "password": "password = \"{}\"|" + PASSWORD,
    "password env": "DB_PASSWORD={}|" + PASSWORD,
    "password yaml": "  db_password: {}|" + PASSWORD,
    "password xml": "<password>{}</password>|" + PASSWORD,
    "password netrc": "machine h login me password {}|" + PASSWORD,
    "secret rust": "let secret: &str = '{}';|" + letters(24),
    "secret": "api_key: \"{}\"|" + letters(24),
    "secret env": "export SERVICE_TOKEN={}|" + letters(24),
    "secret json": "{{\"client_secret\": \"{}\"}}|" + letters(24),
    "secret annotated": "token: str = '{}'|" + letters(24),
    "secret uuid": "auth_token = '{}'|" + UUID,
}  # fmt: skip

BENIGN = [
    hexes(40),
    f"commit {hexes(40)}",
    f"--hash=sha256:{hexes(64)}",
    f'"integrity": "sha512-{letters(86)}=="',
    f'checksum = "{hexes(64)}"',
    UUID,
    f'id = "{UUID}"',
    "data:image/png;base64," + letters(400),
    "password = getpass()",
    "password: str",
    "token: str = ''",
    'password = "changeme1"',
    'api_key = "your-api-key-here-1"',
    'secret = "xxxxxxxxxxxxxxxxxxxx1"',
    'token = "${SERVICE_TOKEN_1}"',
    'token = "<the-token-of-agent-1>"',
    "const token = process.env.TOKEN_NUMBER_12",
    'password = os.environ["PASSWORD1"]',
    'secret = "test-secret-0123456789"',
    "color: #ff00aa; background: #1a2b3c4d;",
    "AKIA" + "IOSFODNN7EXAMPLE",
    'token_url = "https://example.com/oauth2/v1/token"',
    "postgres://user:password@localhost/db",
    "redis://:${REDIS_PASSWORD}@redis:6379",
    "https://example.com/a:b@c",
    "task-abcdefghijklmnopqrstuvwxyz012345",
    "PrivateKey = ed25519.Ed25519PrivateKey",
    "self.password = password1",
    "PASSWORD_RESET_DAYS=3",
    "password: Optional1",
    'if "-----BEGIN PRIVATE ' + 'KEY-----" in text: pass',
    "Authorization: Bearer $TOKEN",
    'secret_name = "my-service-credentials-v2"',
    'path_to_secret = "/run/secrets/token0123456789ab"',
    "-----BEGIN CERTIFICATE-----\n" + letters(64) + "\n-----END CERTIFICATE-----",
    "ssh-ed25519 " + letters(68) + " me@here",
]


def placed(name: str) -> tuple[str, str, str]:
    """Give the rule, the text with the secret in its place, and the secret."""
    before, bar, secret = SECRETS[name].partition("|")
    rule = name.partition(" ")[0]
    return (
        (rule, before.replace("{}", secret).replace("{{", "{").replace("}}", "}"), secret)
        if bar
        else (rule, before, before)
    )


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("around", ["{}", "x = 1\n{}\ny = 2\n", "ü€ \U0001f511\n{}\n日本", "{}\r\n"])
def test_each_kind(name: str, around: str) -> None:
    """Every kind is replaced whole, counted under its rule, and nothing else is touched."""
    rule, text, secret = placed(name)
    redacted, counts = redact(around.format(text))
    assert secret not in redacted
    assert secret[-12:] not in redacted
    assert redacted == around.format(text).replace(secret, f"[REDACTED:{rule}]")
    assert counts == {rule: 1}
    assert redact(redacted) == (redacted, {})


@pytest.mark.parametrize("text", BENIGN)
def test_look_alikes_stay(text: str) -> None:
    """What is a name, a hash, a placeholder or an example is left alone."""
    assert redact(text) == (text, {})
    assert redact(f"# one\n{text}\n# two\n")[1] == {}


def test_there_are_enough_kinds() -> None:
    """The corpus has the kinds that the documents promise."""
    assert len({name.partition(" ")[0] for name in SECRETS}) >= 40


@pytest.mark.parametrize("sign", ["+", "-", "    ", "# "])
def test_key_in_a_diff(sign: str) -> None:
    """A key of several lines is one secret, each line with the sign of a diff or comment before it, too."""
    key = armor("RSA PRIVATE " + "KEY")
    redacted, counts = redact("".join(f"{sign}{line}\n" for line in ("a = 1", *key.splitlines(), "b = 2")))
    assert counts == {"private-key": 1}
    assert letters(16) not in redacted
    assert "a = 1" in redacted
    assert "b = 2" in redacted


def test_key_in_a_string() -> None:
    """A key written as a string of JSON, with its line ends escaped, is one secret."""
    redacted, counts = redact(json.dumps({"key": armor("PRIVATE " + "KEY")}))
    assert redacted == '{"key": "[REDACTED:private-key]"}'
    assert counts == {"private-key": 1}


@pytest.mark.parametrize("cut", [60, 100, 110, 170])
def test_key_without_its_end(cut: int) -> None:
    """A key that somebody cut off is replaced as far as it goes."""
    redacted, counts = redact(armor("RSA PRIVATE " + "KEY")[:cut])
    assert (redacted, counts) == ("[REDACTED:private-key]", {"private-key": 1})


def test_many_on_one_line() -> None:
    """Each of many secrets on a line is replaced and counted."""
    redacted, counts = redact(" ".join([AWS_ID] * 50 + [JWT] * 3))
    assert counts == {"aws-access-key-id": 50, "jwt": 3}
    assert redacted == " ".join(["[REDACTED:aws-access-key-id]"] * 50 + ["[REDACTED:jwt]"] * 3)


def test_word_before_a_known_form_stays() -> None:
    """A branch named after a key keeps its word and tells the rule; what is random before it goes, too."""
    key = "AKIA" + "Z2X9W4V7H3K5M8P6"
    assert redact(f"fix/try-{key}")[0] == "fix/try-[REDACTED:aws-access-key-id]"
    assert "zK9d8fQ2" not in redact(f"zK9d8fQ2-{key}")[0]


def test_chosen_password_in_a_sentence() -> None:
    """What a person chose is a secret without quotes, too; an expression is none."""
    assert "hunter2" not in redact("log in with password=hunter2!Xq and go on")[0]
    for text in ("password = password1 != other", "if password!=given2: pass", "let password = format!(a1)"):
        assert redact(text)[0] == text


def test_json_values() -> None:
    """Strings anywhere in a value are looked at, names included; and a name can make a value a secret."""
    value = {"a": ["use it", {AWS_ID: 1}], "password": PASSWORD, "token": None, "n": 3}
    redacted, count = redact_value(value)
    assert count == 2
    assert redacted == {
        "a": ["use it", {"[REDACTED:aws-access-key-id]": 1}], "password": "[REDACTED:password]", "token": None, "n": 3,
    }  # fmt: skip


def test_deep_value() -> None:
    """A value that is nested as deep as a body may be ends no gathering, and hides nothing."""
    value: object = AWS_ID
    for _ in range(900):
        value = [value]
    redacted, count = redact_value(value)
    assert count == 1
    assert "[REDACTED:nesting]" in str(redacted)
    assert AWS_ID not in str(redacted)


pieces = st.sampled_from(
    [placed(name)[1] for name in SECRETS] + BENIGN + ["\n", " ", '"', "=", "@", "ü", "[REDACTED:x]"]
)


@settings(deadline=None)
@given(st.lists(st.text(max_size=5) | pieces, max_size=12).map("".join))
def test_again_changes_nothing(text: str) -> None:
    """What is redacted has no secret left in it."""
    redacted, _ = redact(text)
    assert redact(redacted) == (redacted, {})


@given(st.text(st.characters(exclude_categories=())))
def test_any_text(text: str) -> None:
    """No text breaks it, lone surrogates included; unchanged means uncounted."""
    redacted, counts = redact(text)
    assert (redacted == text) is (not counts)


@given(st.text(st.characters(exclude_categories=["N"], exclude_characters=":=-_./"), max_size=300))
def test_text_without_triggers(text: str) -> None:
    """Text without digits and signs has no secret."""
    assert redact(text) == (text, {})
