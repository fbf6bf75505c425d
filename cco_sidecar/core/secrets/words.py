"""Words of a line that say that it may be of secrets; only such lines are looked at closely."""

# By number, for these letters look like others: Polish, Swedish, Russian, Chinese, Japanese, Korean.
_IN_OTHER_LETTERS = (
    "has\u0142o|l\u00f6senord|(?:\u043f|\u041f)\u0430\u0440\u043e\u043b|\u5bc6\u7801|\u5bc6\u78bc|\u53e3\u4ee4"
    "|\u30d1\u30b9\u30ef\u30fc\u30c9|\ube44\ubc00\ubc88\ud638"
)

OF_SECRETS = (
    r"(?i)pass(?:w(?:or)?d|phrase|code|wort|w\b|[^a-z\n])|pwd|rootpw|secret|api_?key|token|credential|security_?key"
    r"|hmac|psk|community[ \t]|(?:private|access|signing|encryption|product)[_-]?key|log_?in\w*[(:]|sign_?in\w*\("
    r"|logon\w*\(|auth(?:enticate)?\w*\(|connect(?:ion)?\(|mysqli\(|\bpdo\(|contrase|mot[_ ]de[_ ]passe|kennwort"
    r"|\bsenha|\bclave|wachtwoord|[ \t]key[ \t]|bcrypt|\bhash\w*\(|\bauth(?:_[a-z_]*|s)?[\"']?[ \t]*[=(]"
    r"|create[-_]?(?:admin|user|superuser)\b|basic[ _-]?auth|wifi\.begin|cwjap|createuser|\bpw[ \t:]|[_ .]salt\b"
    rf"|\bpepper\b|{_IN_OTHER_LETTERS}"
)
"""What says so of a line whose grammar is not known: on it, what looks like a password is one."""

# No stars over more than a word: each that can still match doubles the states of the automaton, and its time with them.
OF_LINES = (
    r"(?i)pass(?:[wpc]|[^a-z\n])|[a-z_-]pass\b|pwd|pw[^a-z\n]|psk|secret|token|credential|bearer|authoriz|basic[ \t_.-]"
    r"|auth[\\\"' \t_s]{0,4}[=:(]|auth_?[a-z]{0,12}[_(]"
    r"|(?:api|access|auth|account|private|encryption|encrypt|signing|master|session|license|service|storage|app"
    r"|security"
    r"|product)[_.-]?key|[?&;-]key[ =]|key[\"'`][ \t]*,|[ \t]key[ \t]+[^\s]*[0-9]|hmac|log_?in|logon|sign_?in"
    r"|account[ \t:]|thin:|sqlplus|curl|--(?:proxy-)?user"
    r"|[ \t](?:-a|--auth)[= \t]|psexec|mysql[a-z]*[ \t]|mariadb|\b7z|zip[ \t]|ldap|redis-cli|plink|pscp|mosquitto"
    r"|xfreerdp|cifs|net1?[ \t.]+use"
    r"|net1?\.exe|lftp|smbclient|rpcclient|\|[ \t]*(?:sudo|cryptsetup|docker|gpg|openssl|gh|kinit)\b"
    r"|:(?:[0-9]{2,5}|\*):[^\s:]|:[0-9a-f]{8}|mech_list|connect[ \t(]|connection\(|[ \t]on[ \t][>~]|add_?user"
    r"|create[-_]?(?:admin|user|superuser)|(?m:^)user[ \t]|[ \t]-[puPU][ \t]|=[0-9a-f]{8}"
    r"|[ \t]-[a-z][ \t=]{1,3}[\\\"'`]?[0-9a-f]{8}|send[ \t]+\"|-[A-Z0-9]{5}-[A-Z0-9]{5}-|md5[ \t]|community[ \t]"
    r"|machine[ \t]|identified by|://[^\s\"'`<>]*@|(?:[?&;]code|sig|signature)=|otp|[^a-z][2m]fa|/rest/[0-9]"
    r"|/(?:v[0-9]+|t|key|rpc|ws|hooks?|k)/[a-z0-9_-]{8}|\"[ \t]+\*[ \t]"
    r"|(?:(?m:^)|[\s\"'`=(])[a-z][\w.@-]*:[^\s:/\"'`<>(){}\[\],;|]{8}"
    r"|mysqli\(|\bpdo\(|contrase|mot[_ ]de[_ ]passe|kennwort|\bsenha|\bclave|wachtwoord|bcrypt|\bhash\w*\("
    r"|wifi\.begin|cwjap"
    rf"|[_ .]salt\b|\bpepper\b|{_IN_OTHER_LETTERS}"
)
"""What is on every line that a rule for lines can match."""
