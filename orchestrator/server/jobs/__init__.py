"""The persistent job queue and what stands around it."""
