"""Videos: their frames, and restoring them."""
