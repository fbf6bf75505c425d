"""The table of what counts as a secret inside text, in the order in which rules give their name to what they share."""

from cco_sidecar.core.secrets.checks import (
    has_random_rest,
    is_credential,
    is_default,
    is_key_block,
    is_loud,
    is_loud_alone,
    is_option,
    is_password,
    is_scrambled_password,
    is_user_and_password,
    is_value,
    looks_chosen,
    looks_chosen_unquoted,
    looks_random,
    looks_random_unquoted,
    stands_out,
)
from cco_sidecar.core.secrets.forms import FORMS
from cco_sidecar.core.secrets.rule import ASSIGN, HEX, QUOTE, UUID, Rule

_URL_TRIGGER = r"://[^\s\"'`<>]*@"

_PAIR_TRIGGER = (
    r"(?m)(?:^|[\s\"'`=(])[A-Za-z][\w.@-]+:[^\s:/\"'`<>(){}\[\],;|]*[0-9][^\s:/\"'`<>(){}\[\],;|]*(?:[\s\"'`)]|$)"
)
_END = r"-?-----END "
_BODY = r"(?:[^-]|-{1,4}[^-])*?"
_GAP = r"(?:\s|\\{1,3}[nr]|[\"'+>#,\\-]){1,40}"
_CUT = (
    r"(?:\s*[A-Z][A-Za-z-]+: [^\n]{0,200})*"
    rf"(?:{_GAP}[A-Za-z0-9+/=]{{16,}})+(?:{_GAP}[A-Za-z0-9+/=]{{1,15}}(?:\s|$))?"
)
_KINDS = r"(?:[A-Z0-9]+ ){0,2}PRIVATE KEY-----"

_PASSWORD_WORD = "(?:passw(?:or)?d|passphrase|passcode|passwort|pwd|\\bpsk)"
_PASSWORD = (
    rf"(?:{_PASSWORD_WORD}[\w.-]{{0,40}}"
    r"|(?:_|\b|db|user|smtp|mail|my|root|ssh|ldap|become[_-])pass|\brequirepass|(?:\b|_)pw)"
)
_PASSWORD_TRIGGER = r"(?i)passw|passphrase|passcode|pwd|pass[^a-z\n]|[_-]pass\b|pw[^a-z\n]|\bpsk"
_SECRET = (
    "(?:passw(?:or)?d|passphrase|passwort|pwd|secret|token|credential|"
    "(?:api|access|auth|account|private|encryption|encrypt|signing|master|session|license|service|storage|"
    "app)[_.-]?key)"
)
_QUOTED = (
    r"(?:\\{0,3}\"((?:[^\"\s\\]|\\[^\snrt]){%d,}?)\\{0,3}\"|\\{0,3}'((?:[^'\s\\]|\\[^\snrt]){%d,}?)\\{0,3}'"
    r"|`([^`\s\\]{%d,})`)"
)
_BARE = r"[^\s\"'`,;(){}\[\]<>]"
_OPTION = rf"[ \t]*[= \t:]?{QUOTE}?([^\s\"'`$<>{{}}|&;]{{4,}})"
_LEAD = r"(?m)^[ \t>#*/+-]*"

_BLOCKS = (
    Rule("private-key", "PRIVATE KEY-----", (
        rf"-----BEGIN {_KINDS[:-5]}-----(?:{_BODY}{_END}{_KINDS}|{_CUT})"), is_key_block),
    Rule("private-key", "PRIVATE KEY-----", rf"((?:[A-Za-z0-9+/=]{{16,}}{_GAP})+)-----END {_KINDS}", is_key_block),
    Rule("private-key", "PRIVATE KEY ----", r"---- BEGIN SSH2 [A-Z ]*PRIVATE KEY ----[^-]*---- END", is_key_block),
    Rule("openvpn-static-key", "OpenVPN Static key", (
        r"-----BEGIN OpenVPN Static key V1-----[^-]*-----END"), is_key_block),
    Rule("pgp-private-key", "PGP PRIVATE KEY BLOCK", (
        rf"-----BEGIN PGP PRIVATE KEY BLOCK-----(?:{_BODY}{_END}PGP PRIVATE KEY BLOCK-----|{_CUT})"), is_key_block),
    Rule("putty-private-key", "Private-Lines:", (
        r"Private-Lines: [0-9]+((?:\s+[A-Za-z0-9+/=]{16,})+(?:\s+Private-MAC: [0-9a-f]{20,})?)")),
    Rule("jwk", "\"(?:d|p|q|dp|dq|qi|k)\\\\{0,3}\"", (
        r"\"(?:d|p|q|dp|dq|qi|k)\\{0,3}\"\s*:\s*\\{0,3}\"([A-Za-z0-9_-]{20,})\\{0,3}\""), looks_random),
    Rule("password-hash", r"\$(?:1|2[abxy]?|5|6|y|gy|apr1|argon2[a-z]{0,2}|scrypt|bcrypt[\w-]*|pbkdf2[\w-]*|sha1|md5"
        r"|P|H)\$", (
        r"\$(?:1|2[abxy]?|5|6|y|gy|apr1|argon2[a-z]{0,2}|scrypt|bcrypt[\w-]*|pbkdf2[\w-]*|sha1|md5)\$"
        r"[A-Za-z0-9./+$=,_-]{20,}")),
    Rule("password-hash", "(?i)pbkdf2|scrypt|argon2|SCRAM-SHA", (
        r"(?i)(?:(?:pbkdf2|scrypt|argon2|bcrypt)[\w.]*[$.:][0-9]{1,8}|SCRAM-SHA-[0-9]+)[$.:]([A-Za-z0-9./+$=:-]{24,})"
        r"")),
    Rule("ansible-vault", r"\$ANSIBLE_VAULT;", r"\$ANSIBLE_VAULT;[^\n]{0,80}((?:(?:\s|\\n)+[0-9a-f]{30,})+)"),
    Rule("rsa-key-value", "<(?:D|P|Q|DP|DQ|InverseQ)>", r"<(?:D|P|Q|DP|DQ|InverseQ)>\s*([A-Za-z0-9+/=]{20,})\s*</"),
)  # fmt: skip

_PLACES = (
    Rule("authorization", "(?i)authorization|bearer", (
        r"(?i)(?:authorization(?:\\{0,3}[\"'])?\s{0,4}[:=,]\s{0,4}[fbr]?(?:\\{0,3}[\"'])?"
        r"(?:[A-Za-z][A-Za-z0-9-]{0,20}[ \t]+)?|\bbearer[ \t]+)"
        r"(?:token=)?[\"']?([A-Za-z0-9._~+/=-]{12,})"), is_credential),
    Rule("basic-credentials", "(?i)basic[ \t]|auth[\\\\\"']{0,4}[ \t]*[:=]", (
        rf"(?i)(?:\bbasic[ \t]+"
        rf"|auth{QUOTE}?[ \t]*[:=][ \t]*{QUOTE}?)([A-Za-z0-9+/]{{8,}}={{0,2}})"), is_user_and_password),
    Rule("url-password", _URL_TRIGGER, (
        r"[A-Za-z][A-Za-z0-9+.-]*://[^\s:/?#@\"'`<>]*:([^\s/\"'`<>]{3,})@[A-Za-z0-9\[$%{]"), is_password),
    Rule("url-password", _URL_TRIGGER, (
        r"[A-Za-z][A-Za-z0-9+.-]*://[^\s:/?#@\"'`<>]*:([^\s@\"'`<>]{20,})@[A-Za-z0-9]"), looks_random),
    Rule("url-user", _URL_TRIGGER, (
        r"[A-Za-z][A-Za-z0-9+.-]*://([A-Za-z0-9._~-]{20,})(?::[^\s/@\"'`<>]*)?@[A-Za-z0-9\[]"), looks_random),
    Rule("url-parameter", "(?i)[?&;][a-z_-]*(?:token|secret|passw|pwd|signature|credential|key|sig|code)[a-z]*=", (
        r"(?i)[?&;](?:[a-z_-]*(?:token|secret|password|passwd|signature|credential|api_?key)|key|sig|code)="
        r"([A-Za-z0-9%._~+/-]{16,})"), looks_random),
    Rule("url-parameter", "(?i)[?&;][a-z_-]*(?:token|secret|passw|pwd|signature|credential|key|sig|code)[a-z]*=", (
        r"(?i)[?&;](?:[a-z_-]*(?:password|passwd|secret|pwd))=([^\s\"'`&;#<>$]{6,})"), looks_chosen),
    Rule("password", "(?i)thin:|sqlplus", (
        r"(?i)(?:thin:|sqlplus[^\n]{0,40}[ \t])\w+/([^\s/@\"']{3,})@"), is_password),
    Rule("command-option", "(?i)-[a-z-]*(?:pass|pwd|token|key|secret|auth)", (
        r"(?i)(?:--|[ \t][-/])[a-z-]*(?:password|passwd|passphrase|pass|pwd|token|api-?key|access-?key|secret"
        r"|secret-?key|auth)"
        rf"[a-z-]*(?:[=:]|[ \t]+){QUOTE}?([^\s\"'`<>$%\\]{{7,}})"), is_option),
    Rule("password", "(?i)password(?:[ \t]+(?:is|was|to|of)|:)", (
        rf"(?i)\bpassword(?:[ \t]+(?:is|was|to|of)"
        rf"|:)[: \t]+{QUOTE}?([^\s\"'`<>$%\\;,()]{{6,}})"), looks_chosen_unquoted),
    Rule("command-option", r"\bcurl|--(?:proxy-)?user|https?[ \t][^\n|]*-a", (
        rf"(?:\bcurl\b[^\n|]{{0,300}}?[ \t]-[a-zA-Z]*[uU][ \t]*|--(?:proxy-)?user(?:name)?[= \t][ \t]*"
        rf"|\bhttps?\b[^\n|:]{{0,80}}[ \t](?:-a|--auth)[= \t]){QUOTE}?"
        r"[^\s:\"'$/]{1,80}:([^\s\"'`$<>{}|&;/]{3,})"), is_password),
    Rule("command-option", r"(?i)(?:psexec|sshpass|mysql|mariadb|7z|\bzip|unzip|login)[^\n]*[ \t]-p", (
        rf"(?i)\b(?:psexec(?:\.exe)?|sshpass|mysql|mysqldump|mysqladmin|mariadb|mariadb-dump|7za?|zip|unzip"
        rf"|login)\b[^\n|]{{0,200}}?[ \t]-[pP]{_OPTION}"), looks_chosen),
    Rule("command-option", r"ldap|redis-cli|plink|pscp|mosquitto|xfreerdp|cifs|net use", (
        rf"\b(?:ldap(?:search|modify|add|delete|passwd|whoami)\b[^\n|]{{0,200}}?[ \t]-w"
        rf"|redis-cli\b[^\n|]{{0,200}}?[ \t]-a|(?:plink|pscp)\b[^\n|]{{0,200}}?[ \t]-pw"
        rf"|mosquitto_\w+\b[^\n|]{{0,200}}?[ \t]-P|xfreerdp\b[^\n|]{{0,200}}?[ \t]/p:){_OPTION}"), looks_chosen),
    Rule("command-option", "lftp|smbclient|rpcclient", (
        rf"\b(?:lftp|smbclient"
        rf"|rpcclient)\b[^\n|]{{0,200}}?[ \t]-[uU][ =]?{QUOTE}?[^\s,%\"']{{1,60}}"
        rf"[,%]([^\s\"'`$<>{{}}|&;]{{4,}})"), looks_chosen),
    Rule("command-option", r"\|[ \t]*(?:sudo|cryptsetup|docker|gpg|passwd|chpasswd|openssl|gh|kinit)\b", (
        rf"echo[ \t]+(?:-n[ \t]+)?{QUOTE}?([^\s\"'`$]{{6,}}){QUOTE}?[ \t]*\|[ \t]*(?:sudo|cryptsetup|docker"
        rf"|gpg|passwd|chpasswd|openssl|gh|kinit)\b"), looks_chosen),
    Rule("command-option", r"\bpass:|htpasswd", (
        rf"(?:\bpass:|htpasswd[ \t]+-[a-zA-Z]*b[a-zA-Z]*[ \t]+\S+[ \t]+\S+[ \t]+)"
        rf"{QUOTE}?([^\s\"'`$<>{{}}]{{4,}})"), looks_chosen),
    Rule("password", "(?i)SecureString", (
        rf"(?i)ConvertTo-SecureString[ \t]+(?:-String[ \t]+)?{QUOTE}([^\"'\s]{{4,}}){QUOTE}"), is_password),
    Rule("password", r"(?m)^[ \t+>#-]*[\w.*-]+:(?:[0-9]{2,5}|\*):", (
        r"(?m)^[ \t+>#-]*[\w.*-]+:(?:[0-9]{2,5}|\*):[^:\s]+:[^:\s]+:([^\s:]{4,})[ \t\r]*$"), is_password),
    Rule("password-hash", ":[0-9a-f]{8}", r"(?m)^[ \t+>#-]*[\w.@-]+:[^:\s][^:\n]{0,80}:([0-9a-f]{32})[ \t\r]*$"),
    Rule("authorization", "(?i)digest username", (
        r"(?i)digest username=[^\n]{0,400}?response=\\{0,3}\"?([0-9a-f]{32,})")),
    Rule("password", "(?i)chpasswd|mech_list|saslpasswd", (
        r"(?i)(?:chpasswd|mech_list|saslpasswd)[^\n]*\n(?:[^\n]*\n){0,5}?[ \t+-]*[\w.@-]+:([^\s\[]\S{5,})[ \t\r]*(?:"
        r"\n|$)"), looks_chosen),
    Rule("password", "(?i)connect[ \t]+\\w+/", r"(?i)connect[ \t]+\w+/([^\s@\"']{3,})@", is_password),
    Rule("password", "(?i)user[ \t]+\\S+[ \t]+on[ \t]",
        r"(?i)user[ \t]+\S+[ \t]+on[ \t][^\n>]{0,80}>(\S{4,})", is_password),
    Rule("password", "(?i)(?:add_?user|change_password|useradd|^user)[ \t]", (
        r"(?im)(?:add_?user|change_password|authenticate_user|^user)[ \t]+[\w.@-]+[ \t]+([^\s\"'`;|&>$-][^\s\"'`;"
        r"|&>]{5,})"
        r"[ \t\r]*(?:[;&|\n]|$)"), looks_chosen),
    Rule("password", r"\$\{[\w.-]*(?:pass|secret|token|key)", (
        r"(?i)\$\{[\w.-]*(?:pass|pwd|secret|token|key)[\w.-]*:[-=?]?([^\s${}]{4,})\}"), looks_chosen),
    Rule("password", (
        r"(?i)(?:password|passwd|passphrase|secret|token|api[ _-]?key|pwd|_pass)[\w.]*[\"'`>]?(?:</\w+>)?[ \t]*[:=]?"
        r"[ \t]*[|>]?[+-]?[ \t\r]*\n"), (
        r"(?im)^[ \t#>*+-]*[\"'`<]?(?:<\w+>)?[\w. -]*(?:password|passwd|passphrase|secret|token|api[ _-]?key"
        r"|pwd|_pass)[\w.]{0,20}[\"'`>]?(?:</\w+>)?"
        r"[ \t]*[:=]?[ \t]*[|>]?[+-]?[ \t\r]*\n(?:[ \t+-]*V [0-9]+\r?\n)?[ \t+>-]*(?:<[\w:]+>)?[\"'`]?"
        r"([^\s\"'`<>]{8,})[\"'`]?(?:</[\w:]+>)?[ \t\r]*(?:\n|$)"), stands_out),
    Rule("password", r"(?i)(?:password|pwd)=\{", r"(?i)(?:password|pwd)=\{([^{}\s]{4,})\}(?:;|\"|'|$)", is_password),
    Rule("command-option", "[ \t]-[pP][ \t]", rf"[ \t]-[pP][ \t]+{QUOTE}?([^\s\"'`$<>{{}}|&;]{{8,}})", is_loud),
    Rule("password", "(?i)(?:password|secret|key)[ \t]+[0-9][ \t]", (
        r"(?i)(?:password|secret|key)[ \t]+[0-9][ \t]+([^\s\"'();,]{8,})[ \t\r]*(?:\n|$)")),
    Rule("command-option", "(?i)net[ \t]+use", (
        r"(?i)\bnet[ \t]+use[ \t]+\S+[ \t]+\\\\\S+[ \t]+([^\s/*]\S{3,})[ \t]+/user"), is_password),
    Rule("password", r"send[ \t]+\"", r"\bsend[ \t]+\"([^\"\\\s]{4,})\\r\"", looks_chosen),
    Rule("command-option", "http-basic", r"http-basic\S*[ \t]+\S+[ \t]+([^\s\"']{8,})", is_password),
    Rule("product-key", "-[A-Z0-9]{5}-[A-Z0-9]{5}-", (
        r"\b((?:[A-Z0-9]{5}-){4}[A-Z0-9]{5})\b")),
    Rule("password", "md5[ \t]|community",
        r"\bmd5[ \t]+(?:[0-9][ \t]+)?([^\s\"'();,]{8,})[ \t\r]*(?:\n|$)", stands_out),
    Rule("password", "machine|login", r"\b(?:machine\s+\S+|default)\s+login\s+\S+\s+password\s+(\S{4,})", is_password),
)  # fmt: skip

_NAMED = (
    Rule("password", _PASSWORD_TRIGGER, (
        rf"(?i){_PASSWORD}{QUOTE}[ \t]*,[ \t]*{_QUOTED % (6, 6, 6)}"), is_default),
    Rule("password", _PASSWORD_TRIGGER, rf"(?i){_PASSWORD}{ASSIGN}{_QUOTED % (6, 6, 6)}", looks_chosen),
    Rule("password", _PASSWORD_TRIGGER, (
        rf"(?i){_PASSWORD}[ \t]+(?:(?:as[ \t]+)?\w+[ \t]*=[ \t]*)?@?{_QUOTED % (6, 6, 6)}"), looks_chosen),
    Rule("password", "(?i)identified by", rf"(?i)identified by[ \t]+{_QUOTED % (4, 4, 4)}", looks_chosen),
    Rule("password", _PASSWORD_TRIGGER, (
        rf"(?i){_PASSWORD}[ \t]+([^\s\"'`,;(){{}}\[\]<>$]{{8,}})"), is_scrambled_password),
    Rule("password", "(?i)passw(?:or)?d", (
        rf"(?i){_PASSWORD_WORD}[\w.-]{{0,40}}{ASSIGN}{QUOTE}?((?:[a-z]{{4}}-){{3}}[a-z]{{4}})\b")),
    Rule("password", r"[ \t]-[uUxl][^\n]*[ \t]-[pPA]", (
        rf"[ \t]-[uUxl][ =]?\S+[ \t](?:[^\n|]{{0,80}}[ \t])?-[pPA][ =]?{QUOTE}?([^\s\"'`$<>{{}}|&;]{{6,}})"),
        is_option),
    Rule("url-path-key", r"://[^\s]*/(?:v[0-9]+|t|token|key|rpc|ws|hooks?|k|secret)/", (
        r"://[\w.-]+/(?:[\w.~%-]+/)*(?:v[0-9]+|t|token|key|rpc|ws|hooks?|k|secret)/([A-Za-z0-9_-]{20,})"),
        has_random_rest),
    Rule("url-parameter", "[?&][A-Za-z_-]+=[0-9a-f]{8}", (
        r"[?&](?:app_?id|app|client|user|uid|u|account|site|license|lic|project|x|a|k|s|t"
        r"|p)=([0-9a-f]{32,64})(?:[&#\s\"'`)<>]|$)")),
    Rule("password", _PAIR_TRIGGER, (
        r"(?m)(?:^|[\s\"'`=(])[A-Za-z][\w.@-]{2,60}:([^\s:/\"'`<>(){}\[\],;|]{8,40})(?:[\s\"'`)]|$)"), is_loud_alone),
    Rule("password", "(?i)(?:auth|credential|login|session|account|user)[^\n]*[\\w.@-][`\"']? ?/ ?\\S", (
        r"(?i)(?:auth|credential|login|session|account|user)[^\n]{0,60}?[ \t(:\"'`][\w.@-]{2,40}[`\"']? ?/ ?[`\"']?(["
        r"^\s/\"'`<>(),;|]{7,64})"), stands_out),
    Rule("password", _PAIR_TRIGGER, (
        r"(?m)^(?:[+>-][ \t]*)?[a-z][\w.@-]{1,40}:([^\s:/\"'`<>(){}\[\],;|]{8,40})[ \t\r]*$"), stands_out),
    Rule("password", "auth-user-pass", r"<auth-user-pass>\s*\S+\s+([^\s<]{4,})", is_password),
    Rule("password", r"[ \t]\*[ \t]",
        r"(?m)^[ \t+-]*\"?[\w.@-]+\"?[ \t]+\*[ \t]+\"?([^\s\"]{4,})\"?[ \t]+\*", looks_chosen),
    Rule("otp-secret", "(?i)otp|[^a-z][2m]fa", r"(?i:otp|[^a-z][2m]fa)\w{0,20}[\"']?[ \t]*[=:][ \t]*[\"']?([A-Z2-7]{1"
        r"6,})\b"),
    Rule("password", _PASSWORD_TRIGGER, (
        rf"(?i){_PASSWORD_WORD}\w{{0,20}}[({{][ \t]*{_QUOTED % (6, 6, 6)}[ \t]*[)}}]"), looks_chosen),
    Rule("password", f"(?i){_PASSWORD_WORD}[ \t]*=", (
        rf"(?i)\b{_PASSWORD_WORD}[ \t]*=[ \t]*([^\s\"'`;,(){{}}\[\]<>$]{{6,}})"
        rf"[ \t]*(?:[;,\"']|$)"), looks_chosen_unquoted),
    Rule("password", "PASS|PWD|PW", (
        rf"(?m)\b[A-Z0-9_]*(?:PASSWORD|PASSWD|PASSPHRASE|PASS|PWD|PW)[A-Z0-9_]*(?:[=?:]?=|=\""
        rf"|:-)({_BARE}{{6,}})"), looks_chosen),
    Rule("password", _PASSWORD_TRIGGER, (
        rf"(?i){_LEAD}(?:export[ \t]+|set[ \t]+"
        rf"|-e[ \t]+)?[\w.-]*?{_PASSWORD}[ \t]*[:=][ \t]*"
        rf"({_BARE}{{6,}})[ \t\r]*(?:[ \t]\(?#.*)?$"), looks_chosen_unquoted),
    Rule("password", "(?i)(?:ENV|ARG|setx?|set -[a-z]+|setenv|export)[ \t]+[\\w.-]*p(?:ass|w)", (
        rf"(?i){_LEAD}(?:ENV|ARG|setx?|set -[a-z]+|setenv"
        rf"|export)[ \t]+[\w.-]*?{_PASSWORD}[ \t]+{QUOTE}?({_BARE}{{6,}})"), looks_chosen),
    Rule("password", "(?i)(?:pass|pwd|pw|passw(?:or)?d)=", (
        rf"(?im){_PASSWORD}=({_BARE}{{8,}})(?:[ \t\r]|$)"), looks_chosen_unquoted),
    Rule("password", _PASSWORD_TRIGGER, (
        rf"(?i){_PASSWORD}{QUOTE}?[ \t]*[:,]?[ \t]*[{{,]?[^\n{{}}<>]*(?:\n[^\n{{}}<>]*){{0,4}}?"
        rf"\b(?:value|default){QUOTE}?\s*[:=]\s*{QUOTE}?({_BARE}{{6,}})"), looks_chosen),
    Rule("secret", f"(?i){_SECRET}", (
        rf"(?i){_SECRET}[\w.-]*`[^`\n]{{1,20}}`([^`\s]{{16,}})`"), looks_random),
    Rule("secret", f"(?i){_SECRET}", (
        rf"(?i){_SECRET}{QUOTE}?[ \t]*[:,]?[ \t]*[{{,]?[^\n{{}}<>]*(?:\n[^\n{{}}<>]*){{0,4}}?"
        rf"\b(?:value|default){QUOTE}?\s*[:=]\s*{QUOTE}([^\s\"'`{{}}<>]{{8,}}){QUOTE}"), stands_out),
    Rule("password", "(?i)<[^\n<>]*(?:pass|pwd|pw|secret|token|api_?key)", (
        rf"(?i)<[\w:.-]*(?:{_PASSWORD_WORD}|pass|secret|token|api_?key"
        rf"|pw)[\w.-]*(?:[ \t][^<>]{{0,80}})?>(?:<!\[CDATA\[)?([^<>\s\]]{{6,}})(?:\]\]>)?</"), looks_chosen),
    Rule("password", "(?i)app.?password|passw", (
        rf"(?i){_PASSWORD_WORD}[\w.-]{{0,40}}{ASSIGN}{QUOTE}((?:[a-z]{{4}} ){{3}}[a-z]{{4}}){QUOTE}")),
    Rule("secret", f"(?i){_SECRET}[\\w.-]*=", (
        rf"(?i)(?:^|[\s\"'`;&(|,?$-])[\w.-]*(?:{_SECRET}|api_?key|pass|pwd)[\w.-]*=({_BARE}{{8,}})"
        rf"(?:[\s\"'`,;)\]}}>&|\\]|$)"), is_value),
    Rule("password", "(?i)[;\"'] ?(?:password|pwd) ?=", (
        r"(?i)[;\"'][ \t]*(?:password|pwd)[ \t]*=[ \t]*([^;\"'\s{}()]{4,})[;\"']"), is_password),
    Rule("command-option", "[ \t]-u[ \t]", (
        rf"[ \t]-u[ \t]+{QUOTE}?[\w.@-]+:([^\s\"'`$<>{{}}|&;/]{{8,}}){QUOTE}?"), looks_random),
    Rule("url-path-key", "/rest/[0-9]", r"/rest/[0-9]+/([a-z0-9]{12,})/", looks_random),
    Rule("signature", "(?i)signature=[0-9a-f]{8}", r"(?i)signature=([0-9a-f]{64})\b"),
    Rule("command-option", "(?i)net[ \t]+user|net1?\\.exe", (
        rf"(?i)\bnet1?(?:\.exe)?[ \t]+user[ \t]+\S+[ \t]+({_BARE}{{6,}})"), looks_chosen),
    Rule("command-option", f"[ \t]-[a-zA-Z][ \t=]+{QUOTE}?{HEX}{{8}}", (
        rf"[ \t]-[a-zA-Z][ \t=]+{QUOTE}?({UUID}|{HEX}{{32,}})(?:[\s\"'`;|&)]|$)"), looks_random),
    Rule("secret", f"(?i){_SECRET}", rf"(?i){_SECRET}[\w.-]{{0,40}}{ASSIGN}{_QUOTED % (16, 16, 16)}", looks_random),
    Rule("secret", "(?i)(?:passw(?:or)?d|secret|token|credential|key)[\"'`][ \t]*,", (
        rf"(?i){_SECRET}{QUOTE}[ \t]*,[ \t]*{_QUOTED % (16, 16, 16)}"), looks_random),
    Rule("secret", f"(?i){_SECRET}", (
        rf"(?i){_LEAD}(?:export[ \t]+|set[ \t]+|env[ \t]+)?[\w.-]*{_SECRET}[\w.-]*[ \t]*(?::=|[:=])[ \t]*"
        rf"({_BARE}{{16,}})[ \t\r]*(?:#.*)?$"), looks_random_unquoted),
    Rule("secret", f"(?i){_SECRET}", (
        rf"(?i)(?:{_SECRET}|api_?key)[\w.-]{{0,40}}{ASSIGN}{_QUOTED % (8, 8, 8)}"), looks_chosen_unquoted),
)  # fmt: skip

WHOLE = (*_BLOCKS, *FORMS)
"""Rules that are looked for in all of the text."""

LINES = (*_PLACES, *_NAMED)
"""Rules that are looked for in lines where one of their triggers is, and in the five lines after each."""
