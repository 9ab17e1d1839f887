"""How good a dictionary is: what it keeps of activations, what a model makes of them, which latents work.

Every number is from tokens of documents that no dictionary was trained on, attention sinks and first tokens left out.
"""
