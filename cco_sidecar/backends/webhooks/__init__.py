"""Webhooks on the network and their secrets on disk."""
