"""The service's own page for browsers: its queue, jobs, faults and files."""
