"""Separation networks behind one interface."""
