"""Objects as files below the root."""
