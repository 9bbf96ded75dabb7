"""Download, convert and find the weights."""
