"""Circuits: which parts of a model suffice for a behaviour, and how well that claim stands up."""
