"""HTTP: parse, ask the core, encode."""
