"""Limits of requests: rates that adapt, departure seats, and their sharing between processes."""
