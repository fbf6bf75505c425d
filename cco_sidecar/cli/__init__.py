"""The `cco` command; every module here starts fast, and imports what is heavy inside the command that needs it."""

import gc
import os
import sys


def main() -> None:
    """Run `cco`; ends the process with the exit codes of contract section 12."""
    if sys.argv[1:] in (["--version"], ["orchestration-server", "--version"]):
        from cco_sidecar import __version__

        sys.stdout.write(f"cco {__version__}\n")
        return
    try:
        if sys.argv[1:2] == ["hook"]:
            gc.disable()  # it ends before there is anything to collect
            from cco_sidecar.cli import hook_call

            call = hook_call.short_way(sys.argv[2:], os.environ)
            if call is not None:
                hook_call.main(call)
        from cco_sidecar.cli.root import cli

        cli(prog_name="cco")
    except KeyboardInterrupt:
        sys.exit(130)
