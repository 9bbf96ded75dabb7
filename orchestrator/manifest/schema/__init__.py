"""Keys and values of a manifest, as pydantic models."""
