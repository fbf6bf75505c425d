"""Benchmarks: each prints one ratio against a peer measured in the same run."""
