"""Sites and partial runs on every other architecture that boots offline: what holds of one must hold of all."""

from __future__ import annotations

import pytest
import torch
import transformers as hf

import interp
from interp.hooks import partial, sites
from interp.hooks.readout import Readout
from tests.tiny_models import boot, random_tokens

TOKENS = random_tokens(n_rows=2, n_pos=8)
READOUT = Readout(torch.tensor([[7], [3]]), torch.tensor([[5, 6], [7, -1]]))

LIKE_LLAMA = {
    "num_hidden_layers": 3,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
LIKE_GPT2 = {"n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64, "vocab_size": 100, "initializer_range": 0.2}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}

ARCHITECTURES = {
    "Olmo2": LIKE_LLAMA,  # norms after each part only
    "Qwen2": LIKE_LLAMA,
    "Qwen3": LIKE_LLAMA | {"head_dim": 12},  # norms of queries and keys
    "Mistral": LIKE_LLAMA | {"sliding_window": 4},
    "Phi3": LIKE_LLAMA,  # joint query, key and value
    "Phi": LIKE_LLAMA | {"num_key_value_heads": 4},  # parallel parts
    "Gemma": LIKE_LLAMA | {"head_dim": 12},
    "Granite": LIKE_LLAMA | {"residual_multiplier": 0.5},  # what the parts add is scaled
    "StableLm": LIKE_LLAMA,
    "Mixtral": LIKE_LLAMA | {"num_local_experts": 4},  # mixture of experts
    "GPTJ": LIKE_GPT2 | SPECIAL | {"rotary_dim": 4},  # parallel parts, blocks return tuples
    "Bloom": {"hidden_size": 48, "n_layer": 3, "n_head": 4, "vocab_size": 100, "initializer_range": 0.2},  # ALiBi
    "Falcon": SPECIAL
    | {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 100}
    | {"parallel_attn": False, "multi_query": False, "initializer_range": 0.2},
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request):
    config = getattr(hf, f"{request.param}Config")(**ARCHITECTURES[request.param])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return boot(getattr(hf, f"{request.param}ForCausalLM")(config).eval())


def test_partial_runs_equal_the_whole(model):
    logits = model(TOKENS, use_cache=False)
    n_layers = model.cfg.n_layers
    streams = interp.capture(model, TOKENS, [sites.resid_pre(layer) for layer in range(n_layers)])
    for layer in range(n_layers):
        stream = streams[sites.resid_pre(layer)]
        assert torch.equal(partial.run(model, stream, layer), logits)
        assert torch.equal(partial.run(model, TOKENS, stop=layer), stream)
    read = partial.run(model, streams[sites.resid_pre(1)], 1, readout=READOUT)
    torch.testing.assert_close(read, READOUT.gather(logits), atol=2e-5, rtol=1e-4)
    if partial.has_suffix_runs(model):
        _, past = partial.run_recording(model, TOKENS, None)
        suffix = partial.run(model, streams[sites.resid_pre(1)][:, 3:], 1, past=past.prefix(3))
        torch.testing.assert_close(suffix, logits[:, 3:], atol=2e-5, rtol=1e-4)


def test_the_parts_add_up_to_the_stream(model):
    a = interp.capture(
        model, TOKENS, [f(1) for f in (sites.resid_pre, sites.attn_out, sites.mlp_out, sites.resid_post)]
    )
    pre, attention, mlp, post = a.values()
    torch.testing.assert_close(pre + attention + mlp, post, atol=1e-5, rtol=1e-5)


def test_a_write_to_the_middle_of_the_stream_is_a_write_to_the_stream(model):
    """The bridge's own hook there changes what the MLP reads and leaves the stream as it was."""
    if sites.resid_mid(1).hook not in sites.reached_hooks(model):
        pytest.skip("attention and MLP are parallel")
    mid = interp.capture(model, TOKENS, sites.resid_mid(1))[sites.resid_mid(1)]
    with interp.intervene(model, interp.steer(sites.resid_mid(1), torch.ones(48))):
        a = interp.capture(model, TOKENS, [sites.resid_mid(1), sites.mlp_out(1), sites.resid_post(1)])
    torch.testing.assert_close(a[sites.resid_mid(1)], mid + 1)
    torch.testing.assert_close(a[sites.resid_post(1)], mid + 1 + a[sites.mlp_out(1)], atol=1e-5, rtol=1e-5)


def test_every_site_that_is_accepted_is_reached(model):
    accepted = [sites.Site(kind, 1) for kind in sites.KINDS if kind not in ("embed", "pos_embed", "final_scale")]
    accepted = [site for site in accepted if site.hook in sites.reached_hooks(model)]
    assert {"resid_pre", "attn_out", "z", "pattern"} <= {site.kind for site in accepted}
    assert len(interp.capture(model, TOKENS, accepted)) == len(accepted)
