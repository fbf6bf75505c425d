"""Outlines: the lines of a file that tell most of it, and files cut down to them."""
