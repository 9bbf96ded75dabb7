"""Fetching and converting the weights."""
