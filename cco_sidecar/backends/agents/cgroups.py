"""Where control groups (version 2) for agents may be made, if anywhere; all of it blocks, shortly."""

import os
import secrets
from pathlib import Path

from cco_sidecar.backends.agents.shim import cgroup


def delegated_group(proc: Path = Path("/proc/self")) -> bytes:
    """Give the directory of the control group that this process is in, if groups may be made below it; else nothing."""
    try:
        directory = _own_group((proc / "cgroup").read_text(), (proc / "mountinfo").read_text())
    except OSError:
        return b""
    if not directory:
        return b""
    parent = os.fsencode(directory)
    probe = cgroup.make(parent, b"cco-probe-" + secrets.token_hex(8).encode())
    if not probe:
        return b""
    cgroup.remove(probe)
    return parent


def _own_group(groups: str, mounts: str) -> str:
    """Find the directory by the texts of ``/proc/self/cgroup`` and ``mountinfo``; empty if there is none."""
    own = next((line[3:] for line in groups.splitlines() if line.startswith("0::/")), None)
    if own is None or own.endswith(" (deleted)"):
        return ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        root, point = fields.split()[3:5]
        if rest.startswith("cgroup2 ") and (own + "/").startswith(root.rstrip("/") + "/"):
            return f"{point}/{own.removeprefix(root).strip('/')}".rstrip("/")
    return ""
