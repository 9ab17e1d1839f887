"""A tiny model on disk that knows the words of the notebooks' prompts."""

from __future__ import annotations

from pathlib import Path

from interp.tasks.indirect_objects import OBJECTS, PLACES
from interp.tasks.names import IOI_NAMES
from tests.tasks.conftest import template_words, word_tokenizer


def save_tiny_reader(directory: Path) -> Path:
    """Store a random Llama of four layers whose tokens are the words of the IOI prompts."""
    import torch
    import transformers

    tokenizer = word_tokenizer([*template_words(), *PLACES, *OBJECTS, *IOI_NAMES])
    config = transformers.LlamaConfig(
        num_hidden_layers=4,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=len(tokenizer),
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
