"""Scripts of faults, and how they are played."""
