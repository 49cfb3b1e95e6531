"""Entropy coding of integers; the only place that imports the range coder."""
