"""Carriers crossed with names and alphabets: each place has every kind of value under several names."""

from collections.abc import Sequence

_PLACES = {
    "env": "{NAME}={value}\n",
    "env-export": 'export {NAME}="{value}"\n',
    "yaml": "service:\n  {name}: {value}\n",
    "yaml-quoted": 'service:\n  {name}: "{value}"\n',
    "json": '{{"id": 1, "{name}": "{value}"}}\n',
    "json-in-string": '"{{\\"{name}\\": \\"{value}\\"}}"\n',
    "toml": "{name} = '{value}'\n",
    "ini": "[service]\n{name} = {value}\n",
    "properties": "service.{name}={value}\n",
    "xml-tag": "<{name}>{value}</{name}>\n",
    "xml-attribute": '<service url="x" {name}="{value}"/>\n',
    "xml-property": '<property name="{name}" value="{value}"/>\n',
    "plist": "<key>{name}</key>\n<string>{value}</string>\n",
    "python": '{NAME} = "{value}"\n',
    "python-call": 'client = Service(url, {name}="{value}")\n',
    "python-environ": 'os.environ["{NAME}"] = "{value}"\n',
    "python-default": 'os.getenv("{NAME}", "{value}")\n',
    "js": "const {name} = '{value}';\n",
    "js-member": "config.{name} = '{value}';\n",
    "go": 'cfg.{name} = "{value}"\n',
    "java": 'private static final String {NAME} = "{value}";\n',
    "ruby": "config.{name} = '{value}'\n",
    "php": "define('{NAME}', '{value}');\n",
    "php-array": "'{name}' => '{value}',\n",
    "rust": 'const {NAME}: &str = "{value}";\n',
    "c": '#define {NAME} "{value}"\n',
    "dockerfile": "ENV {NAME}={value}\n",
    "dockerfile-arg": "ARG {NAME}={value}\n",
    "compose": "    environment:\n      - {NAME}={value}\n",
    "kubernetes": "- name: {NAME}\n  value: {value}\n",
    "kubernetes-json": '{{"name": "{NAME}", "value": "{value}"}}\n',
    "terraform": '{name} = "{value}"\n',
    "terraform-default": 'variable "{name}" {{\n  default = "{value}"\n}}\n',
    "github-actions": "        env:\n          {NAME}: {value}\n",
    "shell-flag": "tool --{dashed} {value} run\n",
    "shell-flag-equals": "tool --{dashed}={value} run\n",
    "header": "X-{dashed}: {value}\n",
    "curl-header": "curl -H 'X-{dashed}: {value}' https://x.example\n",
    "query": "https://x.example/v1/things?{name}={value}&limit=5\n",
    "comment": "# {name}: {value}\n",
    "commented-code": "// {name} = '{value}';\n",
    "diff": '-{NAME} = "{value}"\n+{NAME} = os.environ["X"]\n',
    "markdown": "Set `{NAME}` to `{value}` first.\n",
    "log": "INFO starting with {name}={value} retries=3\n",
}
_NAMES = ["airtable_api_key", "acme_auth_token", "webhook_secret", "private_key", "service_password", "access_token"]
_VALUES = ["%hex32%", "%hex40%", "%hex64%", "%uuid%", "%an20%", "%an32%", "%low24%", "%up24%", "%b40%", "%u43%"]


_PASSWORDS = ["db_password", "smtp_pass", "admin_passwd", "keystore_password", "root_pwd", "vault_passphrase"]
_CHOSEN = ["%human%", "%word%", "%pw12%", "%sg14%", "%an10%"]


def _crossed(names: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    kinds = {}
    for at, (place, template) in enumerate(_PLACES.items()):
        for step, value in enumerate(values):
            name = names[(at + step) % len(names)]
            words = {"name": name, "NAME": name.upper(), "dashed": name.replace("_", "-"), "value": value}
            kinds[f"{place} {name} {value.strip('%')}"] = template.format(**words)
    return kinds


CROSSED = _crossed(_NAMES, _VALUES)
CROSSED_PASSWORDS = _crossed(_PASSWORDS, _CHOSEN)
