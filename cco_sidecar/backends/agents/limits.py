"""The limits of agents' processes, as the kernel takes them."""

import resource
from collections.abc import Mapping

_MIB = 1024 * 1024
_KINDS = {
    # Of virtual memory runtimes reserve much more than they use: what counts is what they can write to.
    "memory_mb": (resource.RLIMIT_DATA, _MIB),
    "processes": (resource.RLIMIT_NPROC, 1),
    "file_size_mb": (resource.RLIMIT_FSIZE, _MIB),
    "core_mb": (resource.RLIMIT_CORE, _MIB),
}


def limits_of(settings: Mapping[str, int | None]) -> list[tuple[int, int, int]]:
    """Give resource, soft and hard limit for each setting that has one; open files have a soft one alone."""
    found = []
    open_files = settings.get("open_files")
    if open_files is not None:
        found.append((resource.RLIMIT_NOFILE, open_files, -1))
    for name, (kind, unit) in _KINDS.items():
        most = settings.get(name)
        if most is not None:
            found.append((kind, most * unit, most * unit))
    return found
