"""Models that are shipped with the package."""
