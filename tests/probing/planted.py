"""Probing tasks whose answer is known, on tiny models."""

from __future__ import annotations

from typing import Any

import torch

from interp.probing import LabelledTokens, labelled_tokens
from tests.tiny_models import N_VOCAB


def embedding_side(model: Any, n_prompts: int = 60, per_prompt: int = 5, seed: int = 0) -> LabelledTokens:
    """Tokens labelled by which side of a plane their embedding lies on: linear in it, and nothing a word list knows."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, N_VOCAB, (n_prompts, 10), generator=generator)
    weights = model.original_model.get_input_embeddings().weight.float()
    normal = torch.randn(weights.shape[1], generator=generator)
    side = (weights @ normal) > (weights @ normal)[3:].median()
    at = torch.stack([torch.randperm(8, generator=generator)[:per_prompt] + 2 for _ in range(n_prompts)])
    rows = torch.arange(n_prompts)[:, None].expand(-1, per_prompt)
    labels = ["right" if side[tokens[r, p]] else "left" for r, p in zip(rows.flatten(), at.flatten())]
    return labelled_tokens(tokens, labels, at.flatten(), rows=rows.flatten(), name="side", group_is="prompt")


def clusters(
    n: int = 300, d: int = 12, n_classes: int = 3, noise: float = 1.0, seed: int = 0, n_sites: int = 2
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features [site, row, feature] with correlated directions, and labels that depend on them linearly with noise."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(0.5, -1, d)
    mixing = torch.randn(n_sites, d, d, generator=generator)
    raw = torch.randn(n_sites, n, d, generator=generator) * scales
    weights = torch.randn(d, n_classes, generator=generator)
    scores = raw[0] @ weights + noise * torch.randn(n, n_classes, generator=generator)
    return raw @ mixing + 3, scores.argmax(1)
