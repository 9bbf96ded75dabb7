"""Reading and writing media files, a block at a time."""
