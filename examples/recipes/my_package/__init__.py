"""A plain package: no build metadata."""
