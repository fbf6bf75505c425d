"""Budgets: how much a project, an issue or an agent type may take, and what becomes of those who take more."""
