"""The composition root: the only place, with `service`, that sees all rooms. `sidecar` is the whole."""
