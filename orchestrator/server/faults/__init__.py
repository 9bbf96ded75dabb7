"""Scripts of faults, and the player that applies them."""
