"""Weight files: every kind of them to a network, and back."""
