"""Reads a project's tree and history in a thread."""
