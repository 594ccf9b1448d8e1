"""Training: the tutorial's loop and what surrounds it."""
