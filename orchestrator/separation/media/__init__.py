"""Media files in and out, a block at a time."""
