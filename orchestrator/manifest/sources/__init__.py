"""Sources: media objects from single names, prefixes and list files."""
