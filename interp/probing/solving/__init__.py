"""Fitting many probes at once: one optimiser and one file a family of probes."""
