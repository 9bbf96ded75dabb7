"""The vendor's wire format: what is sent, what comes back, and what it means. No I/O, no clock."""
