"""What a program takes in with the client: next to nothing."""

import subprocess
import sys

HEAVY = {"twisted", "klein", "treq", "msgspec", "attr", "attrs", "click", "rich", "jwt", "cryptography", "zope"}
HEAVY |= {"http", "http.client", "ssl", "asyncio", "email", "logging", "random", "inspect", "dataclasses", "hashlib"}
PROBE = """
import sys, time
began = time.process_time()
import cco_sidecar.client
took = time.process_time() - began
print(took)
print(*sys.modules)
"""


def probed() -> tuple[float, set[str]]:
    """Import it in a process of its own; give the seconds of processor time, and what was imported."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _at_home(PROBE)], capture_output=True, text=True, check=True
    )
    seconds, modules = done.stdout.splitlines()
    return float(seconds), set(modules.split())


def _at_home(program: str) -> str:
    """Let a program without site packages see the package that is tested."""
    import cco_sidecar

    root = cco_sidecar.__path__[0].rpartition("/")[0]
    return f"import sys; sys.path.append({root!r})\n{program}"


def test_standard_library_only() -> None:
    """Importing the client imports no library, and nothing slow."""
    _, modules = probed()
    assert not modules & HEAVY
    tops = {name.partition(".")[0] for name in modules}
    assert {top for top in tops - {"cco_sidecar", "__main__"} if top not in sys.stdlib_module_names} == set()
    ours = {name for name in modules if name.startswith("cco_sidecar")}
    assert all(name == "cco_sidecar" or name.startswith("cco_sidecar.client") for name in ours)
    assert "cco_sidecar.client.twisted" not in modules


def test_import_is_quick() -> None:
    """It takes some 20 ms of processor time; three times that is a mistake."""
    assert min(probed()[0] for _ in range(5)) < 0.06
