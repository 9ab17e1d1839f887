"""The same architecture with random weights: what a probe finds there, training has not put there.

Zhang & Bowman 2018, "Language Modeling Teaches You More than Translation Does": probes of untrained encoders do
surprisingly well, since random features of a sentence still tell its words apart.
"""

from __future__ import annotations

import copy
from typing import Any

import torch


def random_twin(model: Any, seed: int) -> Any:
    """A copy of the model whose matrices are redrawn from normal distributions.

    Every matrix (embeddings included) gets the mean and the standard deviation it had, so that activations keep about
    their size in any architecture; gains and biases of norms and layers, which are vectors, stay. The copy takes as
    much memory as the model.
    """
    twin = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    done: set[int] = set()
    with torch.no_grad():
        for _, weight in sorted(twin.original_model.named_parameters(), key=lambda item: item[0]):
            if weight.ndim < 2 or weight.data_ptr() in done:  # tied weights are one
                continue
            done.add(weight.data_ptr())
            mean, std = weight.float().mean(), weight.float().std()
            drawn = torch.randn(weight.shape, generator=generator)
            weight.copy_((drawn.to(weight.device) * std + mean).to(weight.dtype))
    return twin.eval()
