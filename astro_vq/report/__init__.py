"""Reports that a survey can decide on: what compression saves, and what it does to the science."""
