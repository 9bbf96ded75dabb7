"""From media objects to job specs."""
