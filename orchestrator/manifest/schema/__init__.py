"""What may be written in a manifest."""
