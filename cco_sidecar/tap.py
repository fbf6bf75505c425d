"""``twistd cco-sidecar``: options in, the service out; the same service as ``cco orchestration-server``."""

import os
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver
from twisted.python.usage import Options as BaseOptions

from cco_sidecar import __version__
from cco_sidecar.logs import twistd_observer
from cco_sidecar.settings import SettingsError, load

_PARAMETERS = ("host", "port", "storage", "cache-size-mb", "roster", "log-level", "config")


class Options(BaseOptions):
    """The options of contract section 2; what is not given comes from environment, file or default."""

    synopsis = "[options]"
    longdesc = "Context, events, results and supervision for a fleet of coding agents."
    optParameters = [
        ["host", None, None, "Address to listen on (CCO_SIDECAR_HOST, 127.0.0.1)."],
        ["port", None, None, "Port to listen on, 0 for any free one (CCO_SIDECAR_PORT, 3001)."],
        ["storage", None, None, "Directory for results, events and logs (CCO_SIDECAR_STORAGE, /tmp/cco-sidecar)."],
        ["cache-size-mb", None, None, "Most memory for cached contexts (CCO_SIDECAR_CACHE_SIZE_MB, 1024)."],
        ["roster", None, None, "File with the agent types (CCO_SIDECAR_ROSTER)."],
        ["log-level", None, None, "debug, info, warning or error (CCO_SIDECAR_LOG_LEVEL, info)."],
        ["config", None, None, "Config file (CCO_CONFIG, $CCO_HOME/config.json)."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["project_root"] = []

    def opt_project_root(self, value: str) -> None:
        """A project as ID=DIR or DIR; may be given several times, the first is the default (PROJECT_ROOT)."""
        self["project_root"].append(value)

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"cco-sidecar {__version__}")  # noqa: T201 - it is what was asked for
        raise SystemExit(0)

    def flags(self) -> dict[str, object]:
        """Give the options as `cco_sidecar.settings.load` takes them."""
        given = {name.replace("-", "_"): self[name] for name in _PARAMETERS}
        return {**given, "project_root": self["project_root"]}


def makeService(options: Options) -> IService:
    """Make the service; whatever is wrong is said in one line, before a daemon is forked off.

    :raises SystemExit: a setting is wrong, or storage or port cannot be had. (Of a `UsageError` twistd makes one line
        only while it reads options; from here it would show a traceback.)
    """
    # Not at the top: twistd reads this module to show its help, and may still choose a reactor.
    from twisted.internet import reactor

    from cco_sidecar.ground import StartError, claim

    try:
        settings = load(options.flags(), os.environ, Path.cwd())
        ground = claim(settings)
    except (SettingsError, StartError) as error:
        raise SystemExit(f"cco-sidecar: {error}") from error
    from cco_sidecar.service import SidecarService  # takes long, and is for nothing where something is wrong

    service = SidecarService(reactor, ground)
    # At "info" twistd's own log is as good as one of ours, and rotates at SIGUSR1.
    if settings.log_level == "info" or options.parent is None:
        return _as_service(service)
    return _as_service(Quieted(service, twistd_observer(settings.log_level, options.parent)))


def _as_service(service: MultiService) -> IService:
    made: IService = service
    return made


class Quieted(MultiService):
    """A service whose application logs through an observer of ours, unless twistd was told which to use."""

    def __init__(self, service: MultiService, log_observer: ILogObserver | None) -> None:
        super().__init__()
        self._log_observer = log_observer
        service.setServiceParent(self)

    def setServiceParent(self, parent: Any) -> None:
        """Join the application, before it begins to log."""
        if self._log_observer is not None:
            parent.setComponent(ILogObserver, self._log_observer)
        super().setServiceParent(parent)
