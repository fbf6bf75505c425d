"""Build shim; everything about the project stands in setup.cfg."""

from setuptools import setup

setup()
