"""The doors of interfaces.py, opened: disk, threads, processes."""
