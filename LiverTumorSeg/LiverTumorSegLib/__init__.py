"""Liver and liver tumors in CT. The command line is in ``cli/main.py``."""

__version__ = "0.1.0"  # the only place: pyproject.toml and the command line read it here
