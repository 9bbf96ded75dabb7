"""Worker processes that do the real work."""
