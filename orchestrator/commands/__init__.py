"""Actions of the verbs, callable from Python."""
