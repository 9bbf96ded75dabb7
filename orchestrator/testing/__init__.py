"""Fakes that are shipped: small working implementations of the ports, proven by the same contract tests as the real ones."""
