"""Watches over one agent, as a process of its own; `program` is what runs."""
