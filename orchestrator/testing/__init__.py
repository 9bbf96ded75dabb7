"""Fakes for tests: small working implementations of the ports.

They pass the same contract tests as the real ones.
"""
