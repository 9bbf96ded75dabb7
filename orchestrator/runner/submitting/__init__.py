"""From a planned job to a recorded answer: one dispatcher, many connections."""
