"""Containers for people who have no root."""

__version__ = "0.1.0"
