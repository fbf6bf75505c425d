"""Starts, watches and ends agent processes."""
