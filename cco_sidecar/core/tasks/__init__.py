"""Tasks: work that is taken by one agent at a time, under a lease (contract section 10)."""
