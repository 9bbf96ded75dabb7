"""From an accepted job to its end: what to ask the service, and when."""
