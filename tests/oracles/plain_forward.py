"""GPT-2 and Llama written out in plain torch, every activation named as in `interp.hooks.sites`.

An independent implementation: it shares no code with the project, TransformerLens or Hugging Face, only the weights.
`edit(kind, layer, x)` sees every activation in the order of computation and returns what goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Edit = Callable[[str, int | None, Tensor], Tensor]


def unchanged(kind: str, layer: int | None, x: Tensor) -> Tensor:
    """The edit that does nothing."""
    return x


def recording(into: dict[tuple[str, int | None], Tensor], edit: Edit = unchanged) -> Edit:
    """The edit, with every activation as it goes on kept under (kind, layer)."""

    def record(kind: str, layer: int | None, x: Tensor) -> Tensor:
        into[kind, layer] = edit(kind, layer, x)
        return into[kind, layer]

    return record


def causal(scores: Tensor) -> Tensor:
    """Later keys at the dtype's minimum."""
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, torch.finfo(scores.dtype).min)


def attend(edit: Edit, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Mixed values [batch, pos, head, d_head] from q, k, v of that shape; k and v may have fewer heads."""
    repeats = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(repeats, 2), v.repeat_interleave(repeats, 2)
    scores = edit("scores", layer, causal(torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])))
    pattern = edit("pattern", layer, scores.softmax(-1))
    return edit("z", layer, torch.einsum("bhqk,bkhd->bqhd", pattern, v))


def llama_logits(hf: Any, tokens: Tensor, edit: Edit = unchanged) -> Tensor:
    """Logits [batch, pos, vocab] of a LlamaForCausalLM's weights."""
    w, c = hf.state_dict(), hf.config
    d_head, eps = c.head_dim, c.rms_norm_eps

    def norm(x: Tensor, name: str, kind: str, layer: int | None) -> Tensor:
        return w[name] * (x / edit(kind, layer, (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()))

    frequency = 1.0 / c.rope_parameters["rope_theta"] ** (torch.arange(0, d_head, 2) / d_head)
    angle = (torch.arange(tokens.shape[1])[:, None] * frequency).repeat(1, 2)[None, :, None, :]

    def rotate(x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * angle.cos() + torch.cat([-second, first], -1) * angle.sin()

    x = edit("embed", None, w["model.embed_tokens.weight"][tokens])
    for layer in range(c.num_hidden_layers):
        at = f"model.layers.{layer}."
        x = edit("resid_pre", layer, x)
        h = edit("attn_in", layer, norm(x, at + "input_layernorm.weight", "scale1", layer))
        q, k, v = (
            edit(kind, layer, (h @ w[f"{at}self_attn.{kind}_proj.weight"].T).unflatten(-1, (-1, d_head)))
            for kind in ("q", "k", "v")
        )
        z = attend(edit, layer, edit("q_rot", layer, rotate(q)), edit("k_rot", layer, rotate(k)), v)
        x = edit("resid_mid", layer, x + edit("attn_out", layer, z.flatten(2) @ w[at + "self_attn.o_proj.weight"].T))
        h = edit("mlp_in", layer, norm(x, at + "post_attention_layernorm.weight", "scale2", layer))
        pre = edit("mlp_pre", layer, h @ w[at + "mlp.gate_proj.weight"].T)
        post = edit("mlp_post", layer, pre * pre.sigmoid() * (h @ w[at + "mlp.up_proj.weight"].T))
        x = edit("resid_post", layer, x + edit("mlp_out", layer, post @ w[at + "mlp.down_proj.weight"].T))
    return norm(x, "model.norm.weight", "final_scale", None) @ w["lm_head.weight"].T


def gpt2_logits(hf: Any, tokens: Tensor, edit: Edit = unchanged) -> Tensor:
    """Logits [batch, pos, vocab] of a GPT2LMHeadModel's weights."""
    w, c = hf.state_dict(), hf.config

    def norm(x: Tensor, name: str, kind: str, layer: int | None) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        scale = edit(kind, layer, (x.pow(2).mean(-1, keepdim=True) + c.layer_norm_epsilon).sqrt())
        return x / scale * w[name + ".weight"] + w[name + ".bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[name + ".weight"] + w[name + ".bias"]

    x = edit("embed", None, w["transformer.wte.weight"][tokens])
    positions = w["transformer.wpe.weight"][: tokens.shape[1]].expand(len(tokens), -1, -1)
    x = x + edit("pos_embed", None, positions)
    for layer in range(c.n_layer):
        at = f"transformer.h.{layer}."
        x = edit("resid_pre", layer, x)
        h = edit("attn_in", layer, norm(x, at + "ln_1", "scale1", layer))
        parts = linear(h, at + "attn.c_attn").chunk(3, -1)
        q, k, v = (edit(kind, layer, part.unflatten(-1, (c.n_head, -1))) for kind, part in zip("qkv", parts))
        attention = linear(attend(edit, layer, q, k, v).flatten(2), at + "attn.c_proj")
        x = edit("resid_mid", layer, x + edit("attn_out", layer, attention))
        h = edit("mlp_in", layer, norm(x, at + "ln_2", "scale2", layer))
        pre = edit("mlp_pre", layer, linear(h, at + "mlp.c_fc"))
        gelu = 0.5 * pre * (1 + torch.tanh(math.sqrt(2 / math.pi) * (pre + 0.044715 * pre**3)))
        x = edit(
            "resid_post", layer, x + edit("mlp_out", layer, linear(edit("mlp_post", layer, gelu), at + "mlp.c_proj"))
        )
    return norm(x, "transformer.ln_f", "final_scale", None) @ w["lm_head.weight"].T
