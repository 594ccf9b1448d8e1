"""The networks, one file each; what they are made of, and what they are called."""
