"""Sparse dictionaries: training, evaluation, and use inside a model."""
