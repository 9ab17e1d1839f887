"""Dictionaries on disk: the native format is SAELens's layout; readers of others' formats stand beside it.

Only safetensors and JSON are read: loading a file never runs code.
"""
