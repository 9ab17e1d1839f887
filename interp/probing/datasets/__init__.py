"""Probing tasks: those that come with the house, one file each, and one's own from a file."""
