"""From bytes to plain data that knows the place of every value."""
