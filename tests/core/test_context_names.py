"""What names alone tell: secrets, languages, kinds, ignored paths, credentials in URLs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.core.context.ignoring import IgnoreRules
from cco_sidecar.core.context.languages import Kind, kind_of, language_of
from cco_sidecar.core.context.manifests import dependencies
from cco_sidecar.core.context.metadata import describe
from cco_sidecar.core.context.project import ProjectFile
from cco_sidecar.core.context.redaction import is_secret_name, without_userinfo

_SECRETS = """
.env .env.local .env.example config/.env.production prod.env id_rsa id_rsa.bak keys/id_ed25519 server.pem TLS.KEY a.p12
store.pfx vault.kdbx app.jks credentials credentials.json aws/credentials.ini Credentials.YML credentials.txt
terraform.tfstate terraform.tfstate.backup .netrc .npmrc .pypirc .htpasswd secrets.yaml secrets.json secret.toml
my-service-account.json service_account_prod.json client_secret_12.json .ssh/config .aws/config k8s/secrets/db.yaml
key.pem.bak .git-credentials
.envrc .env.staging app/.env id_dsa id_ecdsa id_ed25519_sk tls.key privkey.pem AuthKey_A1.p8
release.keystore db.kdb putty.ppk secring.gpg client.ovpn wg0.conf prod.tfvars secrets.auto.tfvars .terraformrc _netrc
htpasswd .htdigest .pgpass pgpass.conf .my.cnf .mylogin.cnf .gitcredentials .dockercfg .docker/config.json
dockerconfig.json .kube/config kubeconfig.yaml prod.kubeconfig .aws/credentials .boto .s3cfg .passwd-s3fs
client_secrets.json gcp-key.json x-firebase-adminsdk-1.json application_default_credentials.json .streamlit/secrets.toml
config/master.key .vault-token vault_pass.txt .ansible-vault-pass .ssh/known_hosts .gnupg/x etc/shadow passwords.txt
passwords.csv api_key.txt apikeys.json oauth_token.json .authinfo .msmtprc rclone.conf .databrickscfg .snowsql/config
.config/gh/hosts.yml .gem/credentials .cargo/credentials.toml .m2/settings-security.xml .azure/accessTokens.json
local.settings.json key.properties sitemanager.xml .bash_history .psql_history krb5.keytab wallet.dat auth.json
"""
SECRETS = _SECRETS.split()
_HARMLESS = """
keyboard.py credentials.py credentials_test.py src/credentials.go secrets.ts docs/secrets.md environment.py env.py
monkey.txt tokenizer.py src/secrets/loader.py identity.py id_rsa_parser.py key.py .github/workflows/env.yml package.json
token.py tokens.json tokenizer.json settings.py environment.yml auth.py auth.ts password.py passwords.go keys.js key.go
publickey.py secrets.go authors.txt password_reset.html token.scss known_hosts.py shadow.css ca.crt
server.pub id_rsa.pub
variables.tf main.tf hosts.yml service_account.go credential_test.rb secretsmanager.ts .gitignore Dockerfile
README.md
"""
HARMLESS = _HARMLESS.split()


def test_there_are_enough_names() -> None:
    """The lists are as long as the documents say."""
    assert len(set(SECRETS)) >= 100
    assert len(set(HARMLESS)) >= 40


@pytest.mark.parametrize("path", SECRETS)
def test_secret(path: str) -> None:
    """Key and credential files are known by their names."""
    assert is_secret_name(path)


@pytest.mark.parametrize("path", HARMLESS)
def test_harmless(path: str) -> None:
    """Code that deals with credentials is code."""
    assert not is_secret_name(path)


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://user:token@example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://token@example.org/a", "https://example.org/a"),
        ("https://example.org/a?access_token=1#x", "https://example.org/a"),
        ("ssh://git@example.org:22/a", "ssh://git@example.org:22/a"),
        ("ssh://git:pw@example.org/a", "ssh://example.org/a"),
        ("https://a@b@example.org/x", "https://example.org/x"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
    ],
)
def test_url_without_credentials(url: str, bare: str) -> None:
    """A remote's URL keeps its place and loses its credentials."""
    assert without_userinfo(url) == bare


@pytest.mark.parametrize(
    ("path", "language", "kind"),
    [
        ("a/b.py", "python", Kind.SOURCE),
        ("Makefile", "make", Kind.CONFIGURATION),
        ("Dockerfile.prod", "docker", Kind.CONFIGURATION),
        ("README", "text", Kind.DOCUMENT),
        ("package.json", "json", Kind.MANIFEST),
        ("requirements-dev.txt", "text", Kind.MANIFEST),
        ("web/package-lock.json", "json", Kind.GENERATED),
        ("x.min.js", "javascript", Kind.GENERATED),
        ("LICENSE.weird", "text", Kind.DOCUMENT),
        ("noext", "unknown", Kind.OTHER),
    ],
)
def test_language_and_kind(path: str, language: str, kind: Kind) -> None:
    """A file is what its name says."""
    assert (language_of(path), kind_of(path)) == (language, kind)


def test_rule_that_excludes() -> None:
    """The rule that counts is named with its place: of a file, or of the directory above it that is excluded."""
    found = IgnoreRules()
    found.add("", "# logs\n*.log  \n!keep.log\nbuild/\n", ".gitignore")
    found.add("a", "keep.log\n", "a/.ccoignore")
    named = {path: found.rule(path) for path in ("x/y.log", "keep.log", "a/keep.log", "build/x/y", "z")}
    assert {path: rule and (rule.source, rule.text) for path, rule in named.items()} == {
        "x/y.log": (".gitignore:2", "*.log"),
        "keep.log": None,
        "a/keep.log": ("a/.ccoignore:1", "keep.log"),
        "build/x/y": (".gitignore:4", "build/"),
        "z": None,
    }
    assert found.rule("build", True) is not None
    assert found.rule("build") is None


def rules(**files: str) -> IgnoreRules:
    found = IgnoreRules()
    for directory, text in files.items():
        found.add("" if directory == "root" else directory, text)
    return found


@pytest.mark.parametrize(
    ("lines", "path", "excluded"),
    [
        ("*.log", "a/b/c.log", True),
        ("*.log\n!keep.log", "a/keep.log", False),
        ("/build", "build/x/y", True),
        ("/build", "a/build/x", False),
        ("build/", "a/build/x", True),
        ("build/", "build", False),
        ("docs/*.md", "docs/a.md", True),
        ("docs/*.md", "docs/a/b.md", False),
        ("docs/**", "docs/a/b.md", True),
        ("a/**/b", "a/b", True),
        ("a/**/**/**/b", "a/b", True),
        ("**/**/b", "x/y/b", True),
        ("a/**/**", "a", False),
        ("a/**/b", "a/x/y/b", True),
        ("**/secret/**", "x/secret/y", True),
        ("dir\n!dir/keep", "dir/keep", True),
        ("[ab].txt", "b.txt", True),
        ("[!ab].txt", "b.txt", False),
        ("\\#x", "#x", True),
        ("\\!x", "!x", True),
        ("# note\n\n", "# note", False),
        ("a?c", "abc", True),
        ("trailing   ", "trailing", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "axb", False),
    ],
)
def test_ignore_rules(lines: str, path: str, excluded: bool) -> None:
    """An ignore file means what git says it means."""
    assert rules(root=lines).excludes(path) is excluded


def test_deeper_ignore_file_wins() -> None:
    """The ignore file nearest to a path has the last word."""
    found = rules(root="*.txt", a="!b.txt")
    assert [found.excludes(path) for path in ("b.txt", "a/b.txt", "a/c.txt")] == [True, False, True]


@pytest.mark.timeout(10)
def test_hostile_pattern_ends() -> None:
    """A pattern made to backtrack for ever does not."""
    assert not rules(root="*a" * 400 + "b").excludes("a" * 250)
    assert not rules(root="/".join(["**/a"] * 200) + "/b").excludes("/".join(["a"] * 200))


@given(st.text(max_size=80), st.text(min_size=1, max_size=40))
def test_any_ignore_file_is_read(lines: str, path: str) -> None:
    """No text breaks the reader of ignore files."""
    assert rules(root=lines).excludes(path) in (True, False)


MANIFESTS = {
    "pyproject.toml": '[project]\ndependencies=["attrs>=23", "x @ git+https://u:tok@h/x.git"]\n',
    "requirements.txt": "# note\nklein==24.8\n-r other.txt\n",
    "package.json": '{"dependencies": {"react": "^18"}, "scripts": {"test": "jest"}}',
    "Cargo.toml": '[dependencies]\nserde = {version = "1.0"}\n',
    "go.mod": "require (\n\tgithub.com/a/b v1.2.3\n)\n",
    "Gemfile": "gem 'rails', '~> 7'\n",
    "pom.xml": "<dependency><artifactId>junit</artifactId><version>4</version></dependency>",
    "build.gradle": "implementation 'a.b:c:1.0'\n",
    "pubspec.yaml": "dependencies:\n  http: ^1.0.0\n",
    "Package.swift": '.package(url: "https://h/NIO.git", from: "2.0.0")\n',
    "composer.json": '{"require": {"monolog/monolog": "3"}}',
    "CMakeLists.txt": "find_package(Boost 1.80 REQUIRED)\n",
    "setup.cfg": "[options]\ninstall_requires =\n    msgspec >= 0.19\n",
}


def test_dependencies() -> None:
    """Each kind of manifest gives its dependencies, and no credentials."""
    found = {(one.source, one.name): one.version for one in dependencies(MANIFESTS)}
    assert found["pyproject.toml", "attrs"] == ">=23"
    assert found["requirements.txt", "klein"] == "==24.8"
    assert found["package.json", "react"] == "^18"
    assert found["Cargo.toml", "serde"] == "1.0"
    assert found["go.mod", "github.com/a/b"] == "v1.2.3"
    assert found["Gemfile", "rails"] == "~> 7"
    assert {source for source, _ in found} == set(MANIFESTS)
    assert "tok" not in str(found)


@given(st.sampled_from(sorted(MANIFESTS)), st.text(max_size=300))
def test_any_manifest_is_read(name: str, text: str) -> None:
    """No text breaks the reader of manifests."""
    assert isinstance(dependencies({name: text}), list)


@pytest.mark.parametrize(
    ("manifests", "project_type", "command"),
    [
        ({"pyproject.toml": ""}, "python", "pytest"),
        ({"pyproject.toml": "", "Makefile": "test:\n\tx\n"}, "python", "make test"),
        ({"package.json": '{"scripts": {"test": "jest"}}'}, "javascript", "npm test"),
        ({"Cargo.toml": ""}, "rust", "cargo test"),
        ({"go.mod": ""}, "go", "go test ./..."),
        ({"pubspec.yaml": "dependencies:\n  flutter:\n"}, "dart", "flutter test"),
        ({}, "lua", None),
    ],
)
def test_project_type(manifests: dict[str, str], project_type: str, command: str | None) -> None:
    """Type and test command follow from the manifests at the root, the type else from the sources."""
    files = [ProjectFile(path, 1, 0) for path in (*manifests, "a.lua")]
    found = describe(files, manifests, [])
    assert (found["project_type"], found["test_command"]) == (project_type, command)
