"""HTTP layer: parsing, limits, signatures, and errors in the vendor's shape."""
