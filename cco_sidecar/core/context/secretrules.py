r"""The table of what counts as a secret inside text: patterns in the syntax of RE2, and what spares a look-alike.

Prefixes that nothing else has stand without a boundary before them, for in source ``"\nghp_…"`` puts a letter there.
"""

import math
import re
from collections import Counter
from collections.abc import Callable

from attrs import frozen

Check = Callable[[str], bool]
"""Says whether what a pattern found is a secret indeed."""

_MOST_FOR_ENTROPY = 256
_LEAST_ENTROPY = 3.0
_LEAST_PASSWORD_ENTROPY = 2.5

_START = r"(?:\b|\\[nrt])"
_ASSIGN = r"[\"'`]?\]?[ \t]*(?::[ \t]*&?[A-Za-z_][\w.]*[ \t]*=|=>|:=|[:=]|,)[ \t]*(?:[A-Za-z]{1,2})?"
_END = r"-?-----END "
_BODY = r"(?:[^-]|-{1,4}[^-])*?"
_GAP = r"(?:\s|\\[nr]|[\"'+>#,-]){1,40}"
_CUT = (
    r"(?:\s*[A-Z][A-Za-z-]+: [^\n]{0,200})*"
    rf"(?:{_GAP}[A-Za-z0-9+/=]{{16,}})+(?:{_GAP}[A-Za-z0-9+/=]{{1,15}}(?:\s|$))?"
)

_DULL = re.compile(r"EXAMPLE|[xX]{4}|\.\.\.|\*{3}|1234567890abcdef1234|abcdefghijklmnop")
_PLACEHOLDER = re.compile(
    r"example|change[-_]?me|placeholder|redacted|x{4}|\*{3}|\.\.\.|…|your[-_a-z]|insert[-_]|replace[-_]|<|\$|\{|\}|\("
    r"|process\.env|os\.environ|(?:^|[^a-z0-9])(?:test|tests|testing|dummy|fake|sample|mock|todo|none|null)(?:[^a-z]|$)",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?:[A-Za-z]+\d{0,3}|\d{1,4})?(?:[-_./:\\@#+,;|*=?!&%~^]+(?:[A-Za-z]+\d{0,3}|\d{1,4})?)*")
_PLACE = re.compile(r"[a-z][a-z0-9+.-]*://|\.{0,2}/|[A-Za-z]:\\|data:")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_KEY_BODY = re.compile(r"[A-Za-z0-9+/=]{24}")


def entropy(text: str) -> float:
    """Give the bits for each character of ``text``, by how often each occurs in it."""
    counts = Counter(text).values()
    total = len(text)
    return -sum(count / total * math.log2(count / total) for count in counts)


def is_no_example(value: str) -> bool:
    """Say whether a value of a known form is more than a documented example (``AKIA…EXAMPLE``) or a row of x."""
    return _DULL.search(value) is None and len(set(value)) > 5


def looks_random(value: str) -> bool:
    """Say whether a value of no known form looks made by chance: no placeholder, name, path or URL."""
    return _is_mixed(value) and _NAME.fullmatch(value) is None and _entropy(value) >= _LEAST_ENTROPY


def looks_random_unquoted(value: str) -> bool:
    """Say the same of a value without quotes, which in source can be an attribute: ``ed25519.Ed25519PrivateKey``."""
    return _DOTTED.fullmatch(value) is None and looks_random(value)


def looks_chosen(value: str) -> bool:
    """Say whether a value looks like a password that a person chose: letters and digits, and no placeholder."""
    return _is_mixed(value) and _entropy(value) >= _LEAST_PASSWORD_ENTROPY


def is_password(value: str) -> bool:
    """Say whether the password of a URL is one: not a variable, nor what documents write there."""
    dull = {"password", "pass", "passwd", "pwd", "secret", "pw", "token", "user", "postgres", "root", "guest", "admin"}
    return len(value) > 2 and value.lower() not in dull and _PLACEHOLDER.search(value) is None and "%s" not in value


def is_key_block(value: str) -> bool:
    """Say whether a block between BEGIN and END has a key in it; a program may name the two lines alone."""
    return _KEY_BODY.search(value) is not None and "..." not in value


def _is_mixed(value: str) -> bool:
    if _PLACEHOLDER.search(value) or _PLACE.match(value):
        return False
    return any(one.isdigit() for one in value) and any(one.isalpha() for one in value)


def _entropy(value: str) -> float:
    return entropy(value[:_MOST_FOR_ENTROPY])


@frozen
class Rule:
    """One kind of secret.

    ``trigger`` must match wherever ``pattern`` does, and is cheap to look for; the first group of ``pattern`` is the
    secret, or all of it if there is none.
    """

    name: str
    trigger: str
    pattern: str
    check: Check = is_no_example


def _near(name: str, word: str, value: str, check: Check = is_no_example) -> Rule:
    """Make the rule for values that mean something only beside a word: ``HEROKU_API_KEY = "…"``."""
    return Rule(name, f"(?i){word}", rf"(?i){word}[\w.-]{{0,40}}{_ASSIGN}[\"'`]?({value})(?:[^A-Za-z0-9_/+]|$)", check)


_HEX = "[0-9a-fA-F]"
_UUID = rf"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
_PASSWORD_WORDS = "(?:passw(?:or)?d|passphrase|passwort|pwd)"
_SECRET_WORDS = (
    "(?:passw(?:or)?d|passphrase|passwort|pwd|secret|token|credential|"
    "(?:api|access|auth|account|private|encryption|encrypt|signing|master|session|license|service|storage)[_.-]?key)"
)

RULES = (
    Rule("private-key", "PRIVATE KEY-----", (
        rf"-----BEGIN (?:[A-Z0-9]+ ){{0,2}}PRIVATE KEY-----"
        rf"(?:{_BODY}{_END}(?:[A-Z0-9]+ ){{0,2}}PRIVATE KEY-----|{_CUT})"), is_key_block),
    Rule("pgp-private-key", "PGP PRIVATE KEY BLOCK", (
        rf"-----BEGIN PGP PRIVATE KEY BLOCK-----(?:{_BODY}{_END}PGP PRIVATE KEY BLOCK-----|{_CUT})"), is_key_block),
    Rule("putty-private-key", "Private-Lines:", r"Private-Lines: [0-9]+((?:\s+[A-Za-z0-9+/=]{16,})+)"),
    Rule("aws-access-key-id", "A[A-Z]{3}[A-Z0-9]{16}", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"),
    _near("aws-secret-access-key", "(?:aws|secret_?access_?key)", "[A-Za-z0-9/+]{40}", looks_random),
    Rule("github-token", "gh[pousr]_", r"gh[pousr]_[A-Za-z0-9]{36,}"),
    Rule("github-fine-grained-token", "github_pat_", r"github_pat_[A-Za-z0-9_]{22,}"),
    Rule("gitlab-token", "gl[a-z]{2,8}-", (
        r"(?:glpat|gldt|glptt|glrt|glcbt|glsoat|glft|glagent|gloas|glimt)-[A-Za-z0-9_=.-]{20,}")),
    Rule("slack-token", "xox|xapp-", r"(?:xox[abeoprs]|xapp|xoxe\.xox[bp])-[A-Za-z0-9-]{10,}"),
    Rule("slack-webhook", r"hooks\.slack\.com", (
        r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9_+/-]{20,})")),
    Rule("stripe-key", "[srp]k_(?:live|test)_", r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}"),
    Rule("stripe-webhook-secret", "whsec_", r"whsec_[A-Za-z0-9+/=]{24,}"),
    Rule("google-api-key", "AIza", r"AIza[A-Za-z0-9_-]{35,}"),
    Rule("google-oauth-secret", "GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{24,}"),
    Rule("google-oauth-token", r"ya29\.", r"ya29\.[A-Za-z0-9_-]{30,}"),
    Rule("anthropic-key", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{20,}"),
    Rule("openai-key", "sk-(?:proj|svcacct|admin|or|[A-Za-z0-9]{20})", (
        rf"{_START}(sk-(?:(?:proj|svcacct|admin|or-v1)-[A-Za-z0-9_-]{{20,}}|[A-Za-z0-9]{{32,}}))"), looks_random),
    Rule("huggingface-token", "hf_|api_org_", rf"{_START}((?:hf_|api_org_)[A-Za-z]{{30,}}[A-Za-z0-9]*)"),
    Rule("huggingface-token", "hf_[A-Za-z0-9]{34}", rf"{_START}(hf_[A-Za-z0-9]{{34,}})"),
    Rule("replicate-token", "r8_", rf"{_START}(r8_[A-Za-z0-9]{{37,}})"),
    Rule("groq-key", "gsk_", rf"{_START}(gsk_[A-Za-z0-9]{{40,}})"),
    Rule("npm-token", "npm_", rf"{_START}(npm_[A-Za-z0-9]{{36,}})"),
    Rule("npm-token", "_auth", r"(?m)_auth(?:Token)?[ \t]*=[ \t]*[\"']?([A-Za-z0-9+/=_-]{16,})", looks_random),
    Rule("pypi-token", "pypi-", r"pypi-[A-Za-z0-9_-]{50,}"),
    Rule("rubygems-key", "rubygems_", r"rubygems_[0-9a-f]{48}"),
    Rule("docker-token", "dckr_", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    Rule("digitalocean-token", "do[opr]_v1_", r"do[opr]_v1_[a-f0-9]{64}"),
    Rule("sendgrid-key", r"SG\.", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    Rule("twilio-key", "SK[0-9a-f]{32}", rf"{_START}(SK[0-9a-f]{{32}})\b"),
    _near("twilio-auth-token", "twilio", "[0-9a-f]{32}"),
    _near("twilio-account", "twilio", "AC[0-9a-f]{32}"),
    Rule("mailgun-key", "key-[0-9a-f]{32}", rf"{_START}(key-[0-9a-f]{{32}})\b"),
    Rule("mailchimp-key", "-us[0-9]", rf"{_START}([0-9a-f]{{32}}-us[0-9]{{1,2}})\b"),
    Rule("brevo-key", "xkeysib-", r"xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    Rule("telegram-bot-token", ":AA[A-Za-z0-9_-]{32}", r"(?:\b|bot)([0-9]{8,10}:AA[A-Za-z0-9_-]{32,})"),
    Rule("discord-webhook", "/api/webhooks/", (
        r"discord(?:app)?\.com/api/(?:v[0-9]+/)?webhooks/[0-9]{15,}/([A-Za-z0-9_-]{40,})")),
    Rule("discord-webhook", r"discord(?:app)?\.com/api/v", (
        r"discord(?:app)?\.com/api/v[0-9]+/webhooks/[0-9]{15,}/([A-Za-z0-9_-]{40,})")),
    Rule("discord-bot-token", r"[MNO][A-Za-z0-9_-]{23}[A-Za-z0-9_-]{0,5}\.", (
        rf"{_START}([MNO][A-Za-z0-9_-]{{23,27}}\.[A-Za-z0-9_-]{{6}}\.[A-Za-z0-9_-]{{27,}})"), looks_random),
    Rule("jwt", "eyJ", r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    Rule("jwe", "eyJ", r"eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]{10,}){4}"),
    Rule("azure-account-key", "(?i)(?:account|access)key", (
        r"(?i)(?:Account|SharedAccess)Key=([A-Za-z0-9+/]{40,}={0,2})")),
    Rule("azure-sas-signature", "sig=", r"[?&;]sig=([A-Za-z0-9%+/=_-]{40,})"),
    Rule("azure-client-secret", "8Q~", r"[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{31,34}"),
    Rule("heroku-key", "HRKU-", r"HRKU-[A-Za-z0-9_-]{36,}"),
    _near("heroku-key", "heroku", _UUID),
    _near("cloudflare-token", "(?:cloudflare|cf_api|cf_token)", "(?:[A-Za-z0-9_-]{40}|[0-9a-f]{37})"),
    _near("datadog-key", "(?:datadog|dd_api|dd_app)", "[0-9a-f]{32}(?:[0-9a-f]{8})?"),
    Rule("new-relic-key", "NR(?:AK|II|AA|JS|IQ|RA)-|NRAL", (
        rf"{_START}(NR(?:AK|II|AA|JS|IQ|RA)-[A-Za-z0-9_-]{{20,}}|[a-f0-9]{{36}}NRAL)")),
    Rule("linear-key", "lin_(?:api|oauth)_", r"lin_(?:api|oauth)_[A-Za-z0-9]{32,}"),
    Rule("notion-token", "secret_|ntn_", rf"{_START}(secret_[A-Za-z0-9]{{43}}|ntn_[A-Za-z0-9]{{40,}})", looks_random),
    Rule("shopify-token", "shp(?:at|ca|pa|ss)_", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    Rule("square-token", "EAAA|sq0", r"(?:EAAA[A-Za-z0-9_-]{60}|sq0(?:atp|csp|idp)-[A-Za-z0-9_-]{22,})"),
    Rule("facebook-token", "EAA", rf"{_START}(EAA[A-Za-z0-9]{{100,}})"),
    Rule("postman-key", "PMAK-", r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    Rule("doppler-token", r"dp\.", (
        rf"{_START}(dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{{2,35}}\.)?[A-Za-z0-9]{{40,}})")),
    Rule("vault-token", r"hv[sbr]\.", rf"{_START}(hv[sbr]\.[A-Za-z0-9_-]{{24,}})"),
    Rule("databricks-token", "dapi", rf"{_START}(dapi[a-f0-9]{{32}}(?:-[0-9])?)\b"),
    Rule("atlassian-token", "ATATT3|ATCTT3|ATBB", r"(?:AT[AC]TT3[A-Za-z0-9_=-]{20,}|ATBB[A-Za-z0-9]{32})"),
    Rule("grafana-token", "glsa_|glc_", r"(?:glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|glc_[A-Za-z0-9+/=]{32,})"),
    Rule("age-secret-key", "AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    Rule("pulumi-token", "pul-", rf"{_START}(pul-[a-f0-9]{{40}})"),
    Rule("terraform-token", "atlasv1", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}"),
    Rule("planetscale-token", "pscale_", r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_=.-]{32,}"),
    Rule("supabase-token", "sbp_", rf"{_START}(sbp_[a-f0-9]{{40}})"),
    Rule("figma-token", "figd_", r"figd_[A-Za-z0-9_-]{36,}"),
    Rule("airtable-token", r"pat[A-Za-z0-9]{14}\.", rf"{_START}(pat[A-Za-z0-9]{{14}}\.[a-f0-9]{{64}})"),
    Rule("tailscale-key", "tskey-", r"tskey-[a-z]+-[A-Za-z0-9-]{16,}"),
    Rule("sentry-token", "sntry[su]_", r"sntry[su]_[A-Za-z0-9+/=_-]{40,}"),
    Rule("authorization", "(?i)authorization|bearer", (
        r"(?i)(?:authorization[\"']?\s{0,4}[:=,]\s{0,4}[fbr]?[\"']?(?:bearer|basic|token|digest)?|\bbearer)[ \t]+"
        r"([A-Za-z0-9._~+/=-]{16,})"), looks_random),
    Rule("url-password", "://", (
        r"[A-Za-z][A-Za-z0-9+.-]*://[^\s:/?#@\"'`<>]*:([^\s/@\"'`<>]{3,})@[A-Za-z0-9\[$%{]"), is_password),
    Rule("url-parameter", "[?&]", (
        r"(?i)[?&](?:[a-z_-]*(?:token|secret|password|signature|api_?key)|key|sig)="
        r"([A-Za-z0-9%._~+/-]{16,})"), looks_random),
    Rule("command-option", "--[a-z-]*(?:pass|token|key|secret)", (
        r"--[a-z-]*(?:password|passwd|token|api-?key|access-?key|secret|secret-?key)"
        r"(?:=|[ \t]+)[\"']?([^\s\"'`<>$]{8,})"), looks_random),
    Rule("password", f"(?i){_PASSWORD_WORDS}", (
        rf"(?i){_PASSWORD_WORDS}[\w.-]{{0,40}}{_ASSIGN}"
        rf"(?:\"([^\"\s\\]{{8,}})\"|'([^'\s\\]{{8,}})'|`([^`\s\\]{{8,}})`)"), looks_chosen),
    Rule("password", f"(?i){_PASSWORD_WORDS}", (
        rf"(?i)\b{_PASSWORD_WORDS}[ \t]*=[ \t]*([^\s\"'`;,(){{}}\[\]<>$]{{8,}})"
        rf"[ \t]*(?:[;,\"']|$)"), looks_random_unquoted),
    Rule("password", "PASS|PWD", (
        r"(?m)\b[A-Z0-9_]*(?:PASSWORD|PASSWD|PASSPHRASE|PASS|PWD)[A-Z0-9_]*="
        r"([^\s\"'`,;(){}\[\]<>$]{8,})"), looks_chosen),
    Rule("password", f"(?i){_PASSWORD_WORDS}:", (
        rf"(?im)^[ \t>#+-]*[\w.-]*{_PASSWORD_WORDS}:[ \t]+"
        r"([^\s\"'`,;(){}\[\]<>$]{8,})[ \t\r]*$"), looks_random_unquoted),
    Rule("password", f"(?i){_PASSWORD_WORDS}", (
        rf"(?i)<[\w:.-]*{_PASSWORD_WORDS}[\w.-]*>([^<>\s]{{6,}})</"), looks_chosen),
    Rule("password", "machine", r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+(\S{4,})", is_password),
    Rule("secret", f"(?i){_SECRET_WORDS}", (
        rf"(?i){_SECRET_WORDS}[\w.-]{{0,40}}{_ASSIGN}"
        rf"(?:\\?\"([^\"\s\\]{{16,}})\\?\"|\\?'([^'\s\\]{{16,}})\\?'|`([^`\s\\]{{16,}})`)"), looks_random),
    Rule("secret", f"(?i){_SECRET_WORDS}", (
        rf"(?im)^[ \t+>#-]*(?:export[ \t]+|set[ \t]+|env[ \t]+)?[\w.-]*{_SECRET_WORDS}[\w.-]*[ \t]*[:=][ \t]*"
        r"([^\s\"'`,;(){}\[\]<>$]{16,})[ \t\r]*(?:#.*)?$"), looks_random_unquoted),
)  # fmt: skip
