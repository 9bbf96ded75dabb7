"""One run: from job specs to terminal states."""
