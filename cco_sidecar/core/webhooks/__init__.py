"""Webhooks: events that are posted to other programs, at least once (contract section 5)."""
