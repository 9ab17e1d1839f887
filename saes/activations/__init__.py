"""Where a dictionary's training data comes from: tensors, shards on disk, or a model at work."""
