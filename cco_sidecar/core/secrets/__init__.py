"""Secrets in text: found by form, by place and by look, and replaced."""
