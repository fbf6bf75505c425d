"""One daemon that lets a fleet of coding agents work on one code base without a person in between."""

__version__ = "0.1.0"
