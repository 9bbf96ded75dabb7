"""One HTTP request: understood, bounded, verified, and refused in the shape of the vendor."""
