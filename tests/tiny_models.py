"""Tiny models with random weights, made offline in a tenth of a second each: one per kind of architecture.

All have a vocabulary of 100 words ("w0" ... "w99"), float32 weights without gradients, eager attention and weights
large enough that heads and MLPs matter. Each call to a `tiny_*` function makes a fresh model; `tiny(name)` gives one
that is shared by the whole session and must be left as it was found.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge

N_VOCAB = 100


def word_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """One token a word, w0 ... w99; w1 is BOS, w2 EOS and pad."""
    vocabulary = {f"w{i}": i for i in range(N_VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="w0", bos_token="w1", eos_token="w2", pad_token="w2"
    )


def _plain(make: Callable[[], Any], seed: int) -> Any:
    """A Hugging Face model with weights in which every mistake would show."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        plain = make().eval().requires_grad_(False)
        for name, parameter in plain.named_parameters():
            # Biases and norm gains start at 0 and 1, where forgetting them would go unnoticed.
            if parameter.ndim == 1:
                parameter.add_((0.1 if "bias" in name else 0.3) * torch.randn_like(parameter))
    return plain


def boot(plain: Any) -> TransformerBridge:
    """A bridge over a Hugging Face model that went through a directory, as a loaded one does."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with tempfile.TemporaryDirectory() as directory:
            plain.save_pretrained(directory)
            word_tokenizer().save_pretrained(directory)
            model = TransformerBridge.boot_transformers(directory, device="cpu")
    finally:
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()
    return model.eval().requires_grad_(False)


def plain_gpt2(seed: int = 0) -> Any:
    """What `tiny_gpt2` wraps, with eager attention."""
    config = transformers.GPT2Config(
        n_layer=3,
        n_embd=48,
        n_head=4,
        vocab_size=N_VOCAB,
        n_positions=64,
        initializer_range=0.2,
        attn_implementation="eager",
        bos_token_id=1,
        eos_token_id=2,
    )
    return _plain(lambda: transformers.GPT2LMHeadModel(config), seed)


def plain_llama(seed: int = 0) -> Any:
    """What `tiny_llama` wraps, with eager attention."""
    config = transformers.LlamaConfig(
        num_hidden_layers=4,
        hidden_size=48,
        intermediate_size=96,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        vocab_size=N_VOCAB,
        max_position_embeddings=64,
        initializer_range=0.3,
        attn_implementation="eager",
    )
    return _plain(lambda: transformers.LlamaForCausalLM(config), seed)


def tiny_gpt2(seed: int = 0) -> TransformerBridge:
    """3 layers, 4 heads, learned positions, LayerNorm."""
    return boot(plain_gpt2(seed))


def tiny_llama(seed: int = 0) -> TransformerBridge:
    """4 layers, 4 heads over 2 key/value heads, rotary, RMSNorm, gated MLP."""
    return boot(plain_llama(seed))


def tiny_gpt_neox(seed: int = 0) -> TransformerBridge:
    """3 layers whose attention and MLP run in parallel on the same stream; partial rotary."""
    config = transformers.GPTNeoXConfig(
        num_hidden_layers=3,
        hidden_size=48,
        intermediate_size=96,
        num_attention_heads=4,
        vocab_size=N_VOCAB,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    return boot(_plain(lambda: transformers.GPTNeoXForCausalLM(config), seed))


def tiny_gemma2(seed: int = 0) -> TransformerBridge:
    """4 layers with norms before and after each part, soft caps, sliding windows of 5 in every second layer."""
    config = transformers.Gemma2Config(
        num_hidden_layers=4,
        hidden_size=48,
        intermediate_size=96,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        vocab_size=N_VOCAB,
        max_position_embeddings=64,
        sliding_window=5,
        query_pre_attn_scalar=12,
        final_logit_softcapping=5.0,
        attn_logit_softcapping=4.0,
        initializer_range=0.3,
    )
    return boot(_plain(lambda: transformers.Gemma2ForCausalLM(config), seed))


def tiny_native(seed: int = 0, **changes: Any) -> TransformerBridge:
    """3 layers, 4 heads, LayerNorm, learned positions, built by TransformerLens itself; `changes` go to its config."""
    settings: dict[str, Any] = {
        "n_layers": 3,
        "n_heads": 4,
        "d_model": 48,
        "d_head": 12,
        "d_mlp": 96,
        "n_ctx": 64,
        "d_vocab": N_VOCAB,
        "act_fn": "gelu",
        "normalization_type": "LN",
        "initializer_range": 0.2,
        "init_weights": True,
        "seed": seed,
        "device": "cpu",
    }
    model = TransformerBridge.boot_native(TransformerBridgeConfig(**settings | changes), model_name="tiny-native")
    return model.eval().requires_grad_(False)


def tiny_native_rotary(seed: int = 0) -> TransformerBridge:
    """The native model with rotary positions, RMSNorm, gated MLP and 2 key/value heads."""
    return tiny_native(
        seed,
        positional_embedding_type="rotary",
        rotary_dim=12,
        normalization_type="RMS",
        final_rms=True,
        gated_mlp=True,
        act_fn="silu",
        n_key_value_heads=2,
    )


def tiny_native_attention_only(seed: int = 0) -> TransformerBridge:
    """The native model without MLPs and without norms."""
    return tiny_native(seed, attn_only=True, d_mlp=None, normalization_type=None)


TINY: dict[str, Callable[[], TransformerBridge]] = {
    "gpt2": tiny_gpt2,
    "llama": tiny_llama,
    "gpt-neox": tiny_gpt_neox,
    "gemma2": tiny_gemma2,
    "native": tiny_native,
    "native-rotary": tiny_native_rotary,
    "native-attention-only": tiny_native_attention_only,
}
HUGGING_FACE = ("gpt2", "llama", "gpt-neox", "gemma2")


@functools.cache
def tiny(name: str) -> TransformerBridge:
    """The session's model of that name (a key of `TINY`); leave it as you found it."""
    return TINY[name]()


def random_tokens(n_rows: int = 3, n_pos: int = 9, seed: int = 0) -> torch.Tensor:
    """Tokens Int[n_rows, n_pos] without the special ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, N_VOCAB, (n_rows, n_pos), generator=generator)
