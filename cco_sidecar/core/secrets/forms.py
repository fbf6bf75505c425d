"""Secrets of a known form: what their makers document, or what always stands beside their name.

Prefixes that nothing else has stand without a boundary before them, for in source ``"\\nghp_…"`` puts a letter there.
"""

from cco_sidecar.core.secrets.checks import has_random_rest, looks_random
from cco_sidecar.core.secrets.rule import START, UUID, Rule, near


def _prefixed(name: str, prefix: str, value: str) -> Rule:
    """Make the rule for a prefix that begins a word, and what follows it."""
    return Rule(name, prefix, rf"{START}({prefix}{value})")


FORMS = (
    Rule("aws-access-key-id", "AKIA|ASIA|ABIA|ACCA", r"((?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16})(?:[^A-Za-z0-9/+]|$)"),
    near("aws-secret-access-key", "(?:aws|secret_?access_?key)", "[A-Za-z0-9/+]{40}", looks_random),
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
    Rule("openai-key", "sk-(?:proj|svcacct|admin|or|[A-Za-z0-9]{4})", (
        rf"{START}(sk-(?:(?:proj|svcacct|admin|or-v1)-[A-Za-z0-9_-]{{20,}}|[A-Za-z0-9]{{32,}}))"), looks_random),
    Rule("huggingface-token", "hf_|api_org_", rf"{START}((?:hf_|api_org_)[A-Za-z]{{30,}}[A-Za-z0-9]*)"),
    Rule("huggingface-token", "hf_", rf"{START}(hf_[A-Za-z0-9]{{34,}})"),
    Rule("replicate-token", "r8_", rf"{START}(r8_[A-Za-z0-9]{{37,}})"),
    Rule("groq-key", "gsk_", rf"{START}(gsk_[A-Za-z0-9]{{40,}})"),
    Rule("npm-token", "npm_", rf"{START}(npm_[A-Za-z0-9]{{36,}})"),
    Rule("npm-token", "_auth", r"(?m)_auth(?:Token)?[ \t]*=[ \t]*[\"']?([A-Za-z0-9+/=_-]{16,})", looks_random),
    Rule("pypi-token", "pypi-", r"pypi-[A-Za-z0-9_-]{50,}"),
    Rule("rubygems-key", "rubygems_", r"rubygems_[0-9a-f]{48}"),
    Rule("docker-token", "dckr_", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    Rule("digitalocean-token", "do[opr]_v1_", r"do[opr]_v1_[a-f0-9]{64}"),
    Rule("sendgrid-key", r"SG\.", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    Rule("twilio-key", "SK[0-9a-f]{4}", rf"{START}(SK[0-9a-f]{{32}})\b"),
    near("twilio-auth-token", "twilio", "[0-9a-f]{32}"),
    near("twilio-account", "twilio", "AC[0-9a-f]{32}"),
    Rule("mailgun-key", "key-[0-9a-f]{4}", rf"{START}(key-[0-9a-f]{{32}})\b"),
    Rule("mailchimp-key", "-us[0-9]", rf"{START}([0-9a-f]{{32}}-us[0-9]{{1,2}})\b"),
    Rule("brevo-key", "xkeysib-", r"xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    Rule("telegram-bot-token", ":AA", r"(?:\b|bot)([0-9]{8,10}:AA[A-Za-z0-9_-]{32,})"),
    Rule("telegram-bot-token", "[0-9]{8}:[A-Za-z0-9_-]{4}",
        r"(?:\b|bot)[0-9]{8,10}:([A-Za-z0-9_-]{35})\b", has_random_rest),
    Rule("discord-webhook", "/api/webhooks/", (
        r"discord(?:app)?\.com/api/(?:v[0-9]+/)?webhooks/[0-9]{15,}/([A-Za-z0-9_-]{40,})")),
    Rule("discord-webhook", r"discord(?:app)?\.com/api/v", (
        r"discord(?:app)?\.com/api/v[0-9]+/webhooks/[0-9]{15,}/([A-Za-z0-9_-]{40,})")),
    Rule("jwt", "eyJ", r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    Rule("jwe", "eyJ", r"eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]{10,}){4}"),
    Rule("azure-account-key", "(?i)(?:account|access)key", (
        r"(?i)(?:Account|SharedAccess)Key=([A-Za-z0-9+/]{40,}={0,2})")),
    Rule("azure-sas-signature", "sig=", r"[?&;]sig=([A-Za-z0-9%+/=_-]{40,})"),
    Rule("azure-client-secret", "8Q~", r"[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{31,34}"),
    Rule("heroku-key", "HRKU-", r"HRKU-[A-Za-z0-9_-]{36,}"),
    near("heroku-key", "heroku", UUID),
    near("cloudflare-token", "(?:cloudflare|cf_api|cf_token)", "(?:[A-Za-z0-9_-]{40}|[0-9a-f]{37})"),
    near("agora-certificate", "app_?certificate", "[0-9a-f]{32}"),
    Rule("ethereum-key", "(?i)accounts|wallet|deployer|signer", (
        r"(?i)(?:accounts|wallet|deployer|signer)[^\n]{0,60}?[^0-9a-f](?:0x)?([0-9a-f]{64})\b")),
    near("salt", "(?:hash_|password_?|nonce_|auth_|secure_|logged_in_)salt", "[^\\s\"'`]{32,}", looks_random),
    near("datadog-key", "(?:datadog|dd_api|dd_app)", "[0-9a-f]{32}(?:[0-9a-f]{8})?"),
    Rule("new-relic-key", "NR(?:AK|II|AA|JS|IQ|RA)-|NRAL", (
        rf"{START}(NR(?:AK|II|AA|JS|IQ|RA)-[A-Za-z0-9_-]{{20,}}|[a-f0-9]{{36}}NRAL)")),
    Rule("linear-key", "lin_(?:api|oauth)_", r"lin_(?:api|oauth)_[A-Za-z0-9]{32,}"),
    Rule("notion-token", "secret_|ntn_", rf"{START}(secret_[A-Za-z0-9]{{43}}|ntn_[A-Za-z0-9]{{40,}})", looks_random),
    Rule("shopify-token", "shp(?:at|ca|pa|ss)_", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    Rule("square-token", "EAAA|sq0", rf"{START}(EAAA[A-Za-z0-9_-]{{60}}|sq0(?:atp|csp|idp)-[A-Za-z0-9_-]{{22,}})"),
    Rule("facebook-token", "EAA", rf"{START}(EAA[A-Za-z0-9]{{100,}})"),
    Rule("postman-key", "PMAK-", r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    Rule("doppler-token", r"dp\.", (
        rf"{START}(dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{{2,35}}\.)?[A-Za-z0-9]{{40,}})")),
    Rule("vault-token", r"hv[sbr]\.", rf"{START}(hv[sbr]\.[A-Za-z0-9_-]{{24,}})"),
    Rule("databricks-token", "dapi", rf"{START}(dapi[a-f0-9]{{32}}(?:-[0-9])?)\b"),
    Rule("atlassian-token", "ATATT3|ATCTT3|ATBB", r"(?:AT[AC]TT3[A-Za-z0-9_=-]{20,}|(?:\b|_)ATBB[A-Za-z0-9]{32}\b)"),
    Rule("grafana-token", "glsa_|glc_", r"(?:glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|glc_[A-Za-z0-9+/=]{32,})"),
    Rule("age-secret-key", "AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    Rule("pulumi-token", "pul-", rf"{START}(pul-[a-f0-9]{{40}})"),
    Rule("terraform-token", "atlasv1", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}"),
    Rule("planetscale-token", "pscale_", r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_=.-]{32,}"),
    Rule("supabase-token", "sbp_", rf"{START}(sbp_[a-f0-9]{{40}})"),
    Rule("figma-token", "figd_", r"figd_[A-Za-z0-9_-]{36,}"),
    Rule("airtable-token", r"[A-Za-z0-9]\.[a-f0-9]{16}", rf"{START}(pat[A-Za-z0-9]{{14}}\.[a-f0-9]{{64}})"),
    Rule("tailscale-key", "tskey-", r"tskey-[a-z]+-[A-Za-z0-9-]{16,}"),
    Rule("sentry-token", "sntry[su]_", r"sntry[su]_[A-Za-z0-9+/=_-]{40,}"),
    _prefixed("supabase-token", r"sb_secret_", r"[A-Za-z0-9_-]{20,}"),
    _prefixed("nuget-key", r"oy2", r"[a-z0-9]{43}\b"),
    Rule("salesforce-token", "00D[A-Za-z0-9]{12}", r"\b00D[A-Za-z0-9]{12,15}!([A-Za-z0-9._]{60,})"),
    _prefixed("aws-mws-token", r"amzn\.mws\.", rf"{UUID}"),
    _prefixed("aws-appsync-key", r"da2-", r"[a-z0-9]{26}\b"),
    _prefixed("riot-key", r"RGAPI-", rf"{UUID}"),
    _prefixed("langsmith-key", r"lsv2_[a-z]{2}_", r"[a-f0-9]{32}_[a-f0-9]{10}"),
    _prefixed("nvidia-key", r"nvapi-", r"[A-Za-z0-9_-]{50,}"),
    _prefixed("render-key", r"rnd_", r"[A-Za-z0-9]{28,}"),
    _prefixed("fireworks-key", r"fw_", r"[A-Za-z0-9]{24}\b"),
    _prefixed("netlify-token", r"nfp_", r"[A-Za-z0-9]{36,}"),
    _prefixed("sonar-token", r"sq[uap]_", r"[a-f0-9]{40}"),
    _prefixed("launchdarkly-key", r"(?:sdk|api|mob)-", rf"{UUID}"),
    _prefixed("hubspot-token", r"pat-(?:na|eu)[0-9]-", rf"{UUID}"),
    _prefixed("contentful-token", r"CFPAT-", r"[A-Za-z0-9_-]{40,}"),
    _prefixed("typeform-token", r"tfp_", r"[A-Za-z0-9_=-]{40,}"),
    _prefixed("dropbox-token", r"sl\.", "[A-Za-z0-9_=-]{100,}"),
    _prefixed("artifactory-token", r"AK[Cc]p", r"[A-Za-z0-9]{60,}"),
    _prefixed("fly-token", r"fm[12][ar]?_", r"[A-Za-z0-9+/=_-]{80,}"),
    _prefixed("xai-key", r"xai-", r"[A-Za-z0-9_-]{60,}"),
    _prefixed("perplexity-key", r"pplx-", r"[A-Za-z0-9]{40,}"),
    _prefixed("clojars-token", r"CLOJARS_", r"[a-f0-9]{60}"),
    _prefixed("cratesio-token", r"cio", r"[A-Za-z0-9]{32}\b"),
    _prefixed("buildkite-token", r"bk[a-z]{1,2}_", r"[a-f0-9]{40}"),
    _prefixed("circleci-token", r"CCI(?:PAT|PRJ)_", r"[A-Za-z0-9]{20,}_[a-f0-9]{40}"),
    Rule("braintree-token", r"access_token\$", r"access_token\$(?:production|sandbox)\$([a-z0-9]{16}\$[a-f0-9]{32})"),
    Rule("vendor-live-key", r"(?:_|\b)(?:live|test|prod|production|sandbox)_[a-zA-Z0-9]", (
        r"(?:(?:[a-z]+_)?(?:live|prod|production|sandbox)|[a-z]+_test)_[a-zA-Z0-9_-]{30,}"), has_random_rest),
    _prefixed("easypost-key", r"EZ[AT]K", r"[A-Za-z0-9]{54}"),
    _prefixed("prefect-key", r"pn[ub]_", r"[a-z0-9]{36}"),
    _prefixed("readme-key", r"rdme_", r"[a-z0-9]{70}"),
    _prefixed("adobe-secret", r"p8e-", r"[a-z0-9A-Z]{32}\b"),
    _prefixed("alibaba-key-id", r"LTAI", r"[A-Za-z0-9]{12,24}\b"),
    _prefixed("tencent-key-id", r"AKID", r"[A-Za-z0-9]{32}\b"),
    _prefixed("yandex-key", r"AQVN", r"[A-Za-z0-9_-]{35,}"),
    _prefixed("yandex-token", r"y[0-3]_", r"[A-Za-z0-9_-]{50,}"),
    _prefixed("dynatrace-token", r"dt0[a-z][0-9]{2}\.", r"[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    _prefixed("mapbox-token", r"sk\.eyJ", r"[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}"),
    _prefixed("twitter-token", r"AAAAAAAAAAAAAAAAAAAA", r"[A-Za-z0-9%]{60,}"),
    Rule("firebase-key", "AAAA", rf"{START}(AAAA[A-Za-z0-9_-]{{7}}:[A-Za-z0-9_-]{{100,}})"),
    Rule("vault-token", r"\bs\.[A-Za-z0-9]{4}", r"\bs\.([A-Za-z0-9]{24})\b", has_random_rest),
    Rule("cloudflare-origin-key", r"v1\.0-", r"\bv1\.0-([0-9a-f]{24}-[0-9a-f]{146})"),
    Rule("webhook-url", "(?i)hooks?[./]", (
        r"(?i)https://[\w.-]*(?:hooks?|hookb2)[\w.-]*(?:/(?:hooks?|webhookb?2?|catch|incomingwebhook|services"
        r"|workflows))+/"
        r"([A-Za-z0-9_/@%.-]{16,})"), looks_random),
    Rule("webhook-url", "(?i)/webhook", (
        r"(?i)https://[\w.-]+/[\w./-]{0,40}webhookb?2?/([A-Za-z0-9_/@%.-]{24,})"), looks_random),
)  # fmt: skip
