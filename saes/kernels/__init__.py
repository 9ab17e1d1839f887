"""Sparse products on the support of a dictionary, with hand-written gradients; a dense reference beside each."""
