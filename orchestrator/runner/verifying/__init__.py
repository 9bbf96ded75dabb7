"""Stems of jobs that the service calls done: where they are, and if they are what was paid for."""
