"""The domain: pure and synchronous, no file, process or socket."""
