"""Displays of a run while it works: sinks of its events, chosen by ``cli``."""
