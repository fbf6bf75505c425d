"""What must never reach an agent: files that are secret by name, and credentials in URLs."""

import re

from cco_sidecar.core.context.languages import Kind, kind_of

_NAME_WORDS = (
    ".netrc _netrc .npmrc .pypirc .htpasswd .pgpass .my.cnf .git-credentials .dockercfg .vault-token .s3cfg .boto "
    "kubeconfig .kubeconfig .terraformrc terraform.rc credentials credential secrets secret .credentials .secrets "
    "htpasswd .htdigest pgpass.conf .pgpass.conf .mylogin.cnf .gitcredentials .dockerconfigjson "
    "dockerconfig.json .passwd-s3fs "
    ".authinfo .msmtprc .fetchmailrc .esmtprc rclone.conf .rclone.conf .databrickscfg proftpdpasswd wallet.dat key4.db "
    "logins.json cookies.sqlite auth.json key.properties keystore.properties local.settings.json shadow gshadow "
    "application_default_credentials.json accesstokens.json settings-security.xml sitemanager.xml recentservers.xml "
    ".bash_history .zsh_history .sh_history .psql_history .mysql_history .python_history .irb_history "
    ".node_repl_history"
)
_NAMES = frozenset(_NAME_WORDS.split())
_ENDING_WORDS = (
    ".pem .key .p12 .pfx .p8 .pkcs12 .kdbx .kdb .jks .keystore .ppk .gpg .ovpn "
    ".tfstate .tfvars .env .pkcs8 .agekey .keytab .kubeconfig"
)
_ENDINGS = tuple(_ENDING_WORDS.split())
_ALWAYS = re.compile(
    r"\.env.*"
    r"|.*\.tfstate\..*"
    r"|.*\.(pem|key|p12|pfx)\.(bak|old|orig|backup|save|\d+)"
    r"|.*service[-_]?account.*\.json"
    r"|client_secret.*\.json"
    r"|.*firebase-adminsdk.*\.json"
    r"|(gcp|google|gcloud|services?)[-_]?(services[-_]?)?key\.json"
    r"|\.?(ansible[-_])?vault[-_]pass(word)?(\.txt)?|\.ansible-vault-pass"
    r"|(.*[-_.])?(api[-_]?keys?|(oauth|access|auth)[-_]?tokens?|passwords?|passwd)\.(txt|csv|json|bak|old)"
    r"|tokens?\.(txt|csv)|kubeconfig\.ya?ml|wg\d+\.conf|.*private[-_]?key\.(asc|txt|json)|appsettings\.secrets?\.json"
)
_UNLESS_CODE = re.compile(r"([._]?(credentials?|secrets?)|id_(rsa|dsa|ecdsa|ed25519))([._-].*)?")
_CODE = frozenset({Kind.SOURCE, Kind.MARKUP, Kind.DOCUMENT})
_SECRET_DIRECTORIES = frozenset({".ssh", ".gnupg", ".aws", ".kube", ".docker", ".azure", ".snowsql"})
_SECRET_PLACES = (".config/gh/hosts.yml", ".config/gcloud/")
_UNLESS_CODE_DIRECTORIES = frozenset({"secrets", ".secrets"})

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)")


def is_secret_name(path: str) -> bool:
    """Say whether the file is a key or credential file, judged by its name; ``credentials.py`` is code and is not."""
    *directories, name = path.lower().split("/")
    if name.endswith(".pub"):
        return False  # the public half of a pair
    if any(place in path.lower() for place in _SECRET_PLACES):
        return True
    if any(part in _SECRET_DIRECTORIES or part.startswith(".env") for part in directories):
        return True
    if name in _NAMES or name.endswith(_ENDINGS) or _ALWAYS.fullmatch(name):
        return True
    if not (_UNLESS_CODE.fullmatch(name) or not _UNLESS_CODE_DIRECTORIES.isdisjoint(directories)):
        return False
    return name.endswith(".txt") or kind_of(name) not in _CODE


def without_userinfo(url: str) -> str:
    """Give the URL without its credentials: no user, password, query or fragment; ``ssh://git@`` keeps its user."""
    found = _URL.match(url)
    if found is None:
        return url
    scheme, authority, path = found.groups()
    userinfo, _, host = authority.rpartition("@")
    keep = scheme.lower() in {"ssh", "git+ssh"} and userinfo and ":" not in userinfo
    return f"{scheme}://{userinfo + '@' if keep else ''}{host}{path}"
