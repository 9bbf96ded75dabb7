"""Planning: from media objects to job specs."""
