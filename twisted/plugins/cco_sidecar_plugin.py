"""Makes ``twistd cco-sidecar`` known to Twisted."""

from twisted.application.service import ServiceMaker

cco_sidecar = ServiceMaker(
    "cco-sidecar",
    "cco_sidecar.tap",
    "Context, events, results and supervision for a fleet of coding agents.",
    "cco-sidecar",
)
