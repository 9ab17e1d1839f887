"""Names of the places inside a transformer where one can read and write: sites.

A `Site` is a kind of activation and a layer; nobody formats hook names by hand. Kinds, with d_head-sized heads and
n_kv key/value heads under grouped-query attention:

    embed, pos_embed                                   [batch, pos, d_model]
    resid_pre, resid_mid, resid_post                   [batch, pos, d_model]   before, inside and after a block
    attn_in, attn_out, mlp_in, mlp_out                 [batch, pos, d_model]   *_in after the norm, *_out as added
    q, k, v            (before the rotary embedding)   [batch, pos, head | kv_head, d_head]
    q_rot, k_rot       (after it)                      [batch, pos, head | kv_head, d_head]
    z                                                  [batch, pos, head, d_head]
    scores, pattern    (before, after the softmax)     [batch, head, query, key]
    mlp_pre, mlp_post                                  [batch, pos, d_mlp]
    scale1, scale2, final_scale                        [batch, pos, 1]         denominators of the norms

The mathematics of the kinds: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from interp.errors import InputError, nearest
from interp.hooks.reach import mid_stream_is_live, reached

_BLOCK_HOOKS = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "attn_in": "attn.hook_in",
    "attn_out": "hook_attn_out",
    "mlp_in": "mlp.hook_in",
    "mlp_pre": "mlp.hook_pre",
    "mlp_post": "mlp.hook_post",
    "mlp_out": "hook_mlp_out",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
    "q_rot": "attn.hook_rot_q",
    "k_rot": "attn.hook_rot_k",
    "z": "attn.hook_z",
    "scores": "attn.hook_attn_scores",
    "pattern": "attn.hook_pattern",
    "scale1": "ln1.hook_scale",
    "scale2": "ln2.hook_scale",
}
_MODEL_HOOKS = {"embed": "hook_embed", "pos_embed": "hook_pos_embed", "final_scale": "ln_final.hook_scale"}
KINDS = (*_MODEL_HOOKS, *_BLOCK_HOOKS)
HEAD_KINDS = ("q", "k", "v", "q_rot", "k_rot", "z", "scores", "pattern")
KEY_VALUE_KINDS = ("k", "v", "k_rot")
ATTENTION_KINDS = ("scores", "pattern")

# Other names of the same hook points: TransformerLens's own ("native") ones, under which a hook reports itself.
_OTHER_NAMES = {
    "hook_in": "resid_pre",
    "hook_out": "resid_post",
    "ln2.hook_in": "resid_mid",
    "attn.hook_out": "attn_out",
    "ln1_post.hook_out": "attn_out",
    "mlp.hook_out": "mlp_out",
    "ln2_post.hook_out": "mlp_out",
    "attn.q.hook_out": "q",
    "attn.k.hook_out": "k",
    "attn.v.hook_out": "v",
    "attn.o.hook_in": "z",
    "mlp.in.hook_out": "mlp_pre",
    "mlp.gate.hook_out": "mlp_pre",
    "mlp.out.hook_in": "mlp_post",
    "embed.hook_out": "embed",
    "pos_embed.hook_out": "pos_embed",
}


@dataclass(frozen=True)
class Site:
    """One activation of a model: its kind (see the module's list) and, for those inside a block, its layer."""

    kind: str
    layer: int | None = None
    # The name it was asked for by, since some names are the same place on some models only.
    given: str | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"there is no kind of site {self.kind!r}{nearest(self.kind, KINDS)}")
        if (self.layer is None) != (self.kind in _MODEL_HOOKS):
            raise InputError(f"site {self.kind!r} takes {'no layer' if self.layer is not None else 'a layer'}")

    @property
    def hook(self) -> str:
        """The name of the hook point, as TransformerLens's cache spells it."""
        if self.layer is None:
            return _MODEL_HOOKS[self.kind]
        return f"blocks.{self.layer}.{_BLOCK_HOOKS[self.kind]}"

    @property
    def pos_dim(self) -> int:
        """Which dimension of the activation counts token positions (queries, for attention)."""
        return 2 if self.kind in ATTENTION_KINDS else 1

    @property
    def head_dim(self) -> int | None:
        """Which dimension counts heads; None where there are none."""
        if self.kind not in HEAD_KINDS:
            return None
        return 1 if self.kind in ATTENTION_KINDS else 2

    def __str__(self) -> str:
        return self.hook


def _make_block_site(kind: str) -> Any:
    def site(layer: int) -> Site:
        return Site(kind, layer)

    site.__name__ = kind
    site.__doc__ = f"The site `{kind}` of a layer; see the module's list for its shape."
    return site


resid_pre, resid_mid, resid_post = (_make_block_site(kind) for kind in ("resid_pre", "resid_mid", "resid_post"))
attn_in, attn_out = (_make_block_site(kind) for kind in ("attn_in", "attn_out"))
mlp_in, mlp_pre, mlp_post, mlp_out = (_make_block_site(kind) for kind in ("mlp_in", "mlp_pre", "mlp_post", "mlp_out"))
q, k, v, z = (_make_block_site(kind) for kind in ("q", "k", "v", "z"))
q_rot, k_rot = (_make_block_site(kind) for kind in ("q_rot", "k_rot"))
scores, pattern = (_make_block_site(kind) for kind in ("scores", "pattern"))


def embed() -> Site:
    """The token embedding, as added to the residual stream."""
    return Site("embed")


def pos_embed() -> Site:
    """The learned position embedding, on models that have one."""
    return Site("pos_embed")


def scale(layer: int, norm: str = "ln1") -> Site:
    """The denominator of a block's first (`ln1`) or second (`ln2`) norm."""
    if norm not in ("ln1", "ln2"):
        raise InputError(f"a block's norms are 'ln1' and 'ln2', not {norm!r}; the last one is sites.final_scale()")
    return Site("scale1" if norm == "ln1" else "scale2", layer)


def final_scale() -> Site:
    """The denominator of the final norm."""
    return Site("final_scale")


def as_site(name: Site | str) -> Site:
    """A Site from a Site or from any of its hook names ("blocks.5.hook_resid_post", "blocks.5.attn.o.hook_in").

    Raises InputError with the nearest names when there is no such hook.
    """
    if isinstance(name, Site):
        return name
    for kind, hook in _MODEL_HOOKS.items():
        if name in (hook, kind) or _OTHER_NAMES.get(str(name)) == kind:
            return Site(kind)
    head, _, rest = str(name).removeprefix("blocks.").partition(".")
    by_hook = {hook: kind for kind, hook in _BLOCK_HOOKS.items()} | _OTHER_NAMES
    if head.isdigit() and by_hook.get(rest) in _BLOCK_HOOKS:
        return Site(by_hook[rest], int(head), given=f"blocks.{head}.{rest}")
    if name and "." not in str(name) and "hook" not in str(name):  # meant as a kind, by which commands name sites
        raise InputError(f"there is no site called {name!r}{nearest(name, KINDS)}")
    layer = head if head.isdigit() else "0"
    known = [f"blocks.{layer}.{hook}" for hook in _BLOCK_HOOKS.values()] + list(_MODEL_HOOKS.values())
    raise InputError(f"there is no site called {name!r}{nearest(name, known)}")


def n_heads_at(model: Any, site: Site) -> int:
    """How many heads the site has on this model: key/value heads for k and v under grouped-query attention."""
    cfg = model.cfg
    if site.kind in KEY_VALUE_KINDS:
        return int(cfg.n_key_value_heads or cfg.n_heads)
    return int(cfg.n_heads)


def shape(model: Any, site: Site | str) -> dict[str, int | None]:
    """Dimension names and sizes of a site's activation on this model; batch and positions are None."""
    site = as_site(site)
    check(model, site)
    cfg = model.cfg
    if site.kind in ATTENTION_KINDS:
        return {"batch": None, "head": n_heads_at(model, site), "query": None, "key": None}
    if site.kind in HEAD_KINDS:
        name = "kv_head" if site.kind in KEY_VALUE_KINDS else "head"
        return {"batch": None, "pos": None, name: n_heads_at(model, site), "d_head": int(cfg.d_head)}
    if site.kind in ("mlp_pre", "mlp_post"):
        return {"batch": None, "pos": None, "d_mlp": int(cfg.d_mlp)}
    if site.kind.endswith(("scale", "scale1", "scale2")):
        return {"batch": None, "pos": None, "scale": 1}
    return {"batch": None, "pos": None, "d_model": int(cfg.d_model)}


# hook_dict of a bridge walks and sorts thousands of names; once a model is enough.
_POINTS: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()
_REACHED: weakref.WeakKeyDictionary[Any, frozenset[str]] = weakref.WeakKeyDictionary()
_LIVE_MID: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def hook_points(model: Any) -> dict[str, Any]:
    """Every hook point of the model by name, aliases included."""
    if model not in _POINTS:
        _POINTS[model] = dict(model.hook_dict)
    return _POINTS[model]


def reached_hooks(model: Any) -> frozenset[str]:
    """The hooks of sites that a forward pass of this model really comes by; tried once a model, on two tokens."""
    if model not in _REACHED:
        points = hook_points(model)
        layers = range(int(model.cfg.n_layers))
        names = [
            *_MODEL_HOOKS.values(),
            *(f"blocks.{layer}.{hook}" for layer in layers for hook in _BLOCK_HOOKS.values()),
        ]
        _REACHED[model] = reached(model, points, [name for name in names if name in points])
    return _REACHED[model]


def hook_point(model: Any, site: Site) -> Any:
    """The model's hook point of a site; raises InputError as `check` does."""
    check(model, site)
    point = hook_points(model)[site.hook]
    return MidStream(point, model, site.layer or 0) if site.kind == "resid_mid" else point


class MidStream:
    """The hook point of `resid_mid`, through which a write reaches the whole residual stream.

    The bridge's own hook sits at the input of the second norm: a new tensor returned there is what the MLP reads,
    while the stream goes on past it unchanged. Writing into the tensor itself changes both, gradients included.
    """

    def __init__(self, point: Any, model: Any, layer: int) -> None:
        self.point = point
        if model not in _LIVE_MID:
            _LIVE_MID[model] = mid_stream_is_live(model, hook_points(model), layer)
        self._live = _LIVE_MID[model]

    @property
    def fwd_hooks(self) -> list[Any]:
        """The hook point's own list of handles."""
        return self.point.fwd_hooks

    def add_hook(self, function: Callable[..., Tensor | None]) -> Any:
        """As the hook point's own, with the new values written into the stream."""

        def write_through(value: Tensor, hook: Any) -> None:
            new = function(value, hook=hook)
            if new is not None and new is not value:
                if not self._live:
                    raise InputError("this model's 'resid_mid' can only be read; write to attn_out or resid_post")
                value.copy_(new)

        return self.point.add_hook(write_through)


def has_live_scores(model: Any, layer: int) -> bool:
    """Whether writing the attention scores of a layer changes what follows.

    Models built by `boot_native` compute attention inside one module: their score hook fires afterwards, on the
    pattern. There the pattern, which is live, has to be used.
    """
    attention = model.blocks[layer].attn
    inner = getattr(attention, "original_component", None)
    return not getattr(inner, "accepts_pattern_fn", False)


def check(model: Any, site: Site | str, heads: Any = None) -> None:
    """Refuse a site (or heads of it) that this model does not have, naming the nearest that it has."""
    site = as_site(site)
    n_layers = int(model.cfg.n_layers)
    if site.layer is not None and not 0 <= site.layer < n_layers:
        raise InputError(f"layer {site.layer} of {site.kind!r} does not exist: the layers are 0 to {n_layers - 1}")
    hooks = reached_hooks(model)
    if site.hook not in hooks:
        layer = site.layer or 0
        here = [kind for kind in KINDS if Site(kind, None if kind in _MODEL_HOOKS else layer).hook in hooks]
        raise InputError(f"this model has no site {site.kind!r}{nearest(site.kind, here)}")
    points = hook_points(model)
    if site.given is not None and points.get(site.given) is not points[site.hook]:
        raise InputError(f"on this model {site.given!r} is not {site.kind!r}, which is {site.hook!r}; name that one")
    if site.kind == "scores" and not has_live_scores(model, site.layer or 0):
        raise InputError("this model computes its attention scores out of reach; use sites.pattern, after the softmax")
    if heads is None:
        return
    if site.head_dim is None:
        raise InputError(f"site {site.kind!r} has no heads; use sites.z, q, k, v or pattern, or leave heads out")
    wrong = [head for head in heads if not 0 <= int(head) < n_heads_at(model, site)]
    if wrong:
        group = " key/value" if site.kind in KEY_VALUE_KINDS and model.cfg.n_key_value_heads else ""
        raise InputError(f"head {wrong[0]} does not exist: the{group} heads are 0 to {n_heads_at(model, site) - 1}")
