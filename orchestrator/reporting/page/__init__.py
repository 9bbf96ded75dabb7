"""The report as one page for a browser: it needs no network and no server."""
