"""Bulk voice / background separation from one YAML manifest."""

__version__ = "0.1.0"
