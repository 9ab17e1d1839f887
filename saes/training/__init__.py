"""Training dictionaries: one step by hand-written gradients, the loop about it, and what survives an interruption."""
