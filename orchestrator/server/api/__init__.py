"""Handlers of the calls that clients make."""
