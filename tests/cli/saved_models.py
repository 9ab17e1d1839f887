"""Models on disk, for commands that load them by their directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_models import word_tokenizer


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with a tiny model, as `save_pretrained` leaves it."""
    return save_tiny_llama(tmp_path_factory.mktemp("llama"))


def save_tiny_llama(directory: Path) -> str:
    """Store a copy of the tiny Llama with its tokenizer in `directory`, and return the path as text."""
    import torch
    import transformers

    from tests.tiny_models import N_VOCAB

    config = transformers.LlamaConfig(
        num_hidden_layers=4,
        hidden_size=48,
        intermediate_size=96,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        vocab_size=N_VOCAB,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(config).save_pretrained(directory)
    word_tokenizer().save_pretrained(directory)
    return str(directory)
