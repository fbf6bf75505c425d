"""The scripted agent and the one-minute demonstration."""
