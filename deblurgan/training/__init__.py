"""Training: the tutorial's loop, that of the recipes, and what surrounds them."""
