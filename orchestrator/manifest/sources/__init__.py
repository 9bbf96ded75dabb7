"""Media objects, from single names, prefixes and list files."""
