"""Training: loop, schedule, state."""
