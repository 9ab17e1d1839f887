"""The gradients of every architecture's loss, written out on the support; `reference.py` is their autograd twin.

All losses are means over tokens of the squared error summed over d_in, plus the architecture's own terms.
"""
