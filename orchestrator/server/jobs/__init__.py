"""The persistent job queue, its scheduler, templates and callbacks."""
