"""Packaged roster, workflows and runners."""
