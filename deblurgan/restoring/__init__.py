"""Restoring: an array in, an array out."""
