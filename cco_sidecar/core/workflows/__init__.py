"""Workflows: what they are, and the engine that runs them for issues."""
