"""Running part of a model: the one place that does, and that really skips what is not needed.

`run` goes from any block to any block, over the last positions only when the earlier ones' keys and values are cached,
and unembeds no more than the readout asks for. What it hides, because each was a trap: the bridge's own
`start_at_layer` executes every block and discards the result; its `stop_at_layer=n_layers` unembeds; models built by
`boot_native` have no key/value cache; and a block's output is a tuple on some models and a tensor on others.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from interp.errors import InputError
from interp.hooks.reach import embedding_device, unhooked
from interp.hooks.readout import Readout
from interp.hooks.sites import hook_points


@dataclass(frozen=True, eq=False)
class KeysValues:
    """Cached keys (after the rotary embedding) and values, one tensor [batch, kv_head, pos, d_head] a layer."""

    keys: tuple[Float[Tensor, "batch kv_head pos d_head"], ...]
    values: tuple[Float[Tensor, "batch kv_head pos d_head"], ...]

    @property
    def length(self) -> int:
        """How many positions are cached."""
        return self.keys[0].shape[2]

    def prefix(self, length: int) -> KeysValues:
        """The first `length` positions."""
        return KeysValues(tuple(k[:, :, :length] for k in self.keys), tuple(v[:, :, :length] for v in self.values))

    def rows(self, index: Int[Tensor, " rows"]) -> KeysValues:
        """The given rows of the batch, in that order."""
        return KeysValues(tuple(k[index] for k in self.keys), tuple(v[index] for v in self.values))

    def as_cache(self, start: int, n_rows: int) -> DynamicCache:
        """A Hugging Face cache for a run from block `start`, the batch repeated to `n_rows` (run-major).

        A model extends the cache it is given, so every run gets its own; tensors are shared until then. Blocks before
        `start` are not run: only the first one's entry is there, since the model reads the length from it.
        """
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(zip(self.keys, self.values)):
            entry = DynamicLayer()
            if layer == 0 or layer >= start:
                entry.lazy_initialization(keys, values)
                repeats = n_rows // keys.shape[0]
                entry.keys = keys if repeats == 1 else keys.repeat(repeats, 1, 1, 1)
                entry.values = values if repeats == 1 else values.repeat(repeats, 1, 1, 1)
            cache.layers.append(entry)
        return cache


class StopForward(Exception):
    """Raised inside a hook to end a forward pass; carries what was wanted."""

    def __init__(self, value: Any = None) -> None:
        super().__init__()
        self.value = value


@contextlib.contextmanager
def hooked(point: Any, function: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Attach `function` (activation -> new activation or None) to one hook point, and take off just that one."""
    handle = point.add_hook(lambda value, hook: function(value))
    try:
        with _quiet_about_rounding(point):
            yield
    finally:
        handle.hook.remove()
        # Somebody may have removed all hooks meanwhile.
        if handle in point.fwd_hooks:
            point.fwd_hooks.remove(handle)


@contextlib.contextmanager
def _quiet_about_rounding(point: Any) -> Iterator[None]:
    """The bridge warns that a norm with a written denominator rounds differently; whoever writes there means to."""
    if not str(getattr(point, "name", "")).endswith("hook_scale"):
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A forward hook edited hook_scale")
        yield


def run(
    model: Any,
    x: Tensor,
    start: int = 0,
    stop: int | None = None,
    *,
    past: KeysValues | None = None,
    readout: Readout | None = None,
) -> Tensor:
    """Run blocks `start` to `stop` of a model on `x`; hooks on what runs fire as usual.

    x: tokens Int[batch, pos] (from the start of the model only) or the residual stream entering block `start`,
    Float[batch, pos, d_model]. stop: None for logits [batch, pos, vocab], or a block: the residual entering it is
    returned ([batch, pos, d_model]; `n_layers` gives the stream after the last block, before the final norm). past:
    keys and values of the positions before `x`, whose own positions then follow; its batch may be a divisor of x's.
    readout: only these logits, [batch, read]; its positions count from the start of the prompt, its batch may also be
    a divisor of x's. Raises InputError when the parts do not fit each other or the model.
    """
    n_layers = int(model.cfg.n_layers)
    _check_range(model, x, start, stop, n_layers, past, readout)
    first_position = 0 if past is None else past.length
    cache = None if past is None else past.as_cache(start, x.shape[0])
    if readout is not None and x.shape[0] != readout.positions.shape[0]:
        readout = readout.repeat(x.shape[0] // readout.positions.shape[0])
    if stop is not None:
        last = f"blocks.{n_layers - 1}.hook_resid_post"
        return _until(model, last if stop == n_layers else f"blocks.{stop}.hook_resid_pre", x, start, cache)
    if readout is None:
        return _forward(model, x, start, cache)
    local = Readout(readout.positions.to(x.device) - first_position, readout.columns)
    if not can_read_narrowly(model):
        return local.gather(_forward(model, x, start, cache))
    return read_out(model, _until(model, "ln_final.hook_in", x, start, cache), local)


def run_recording(model: Any, tokens: Int[Tensor, "batch pos"], readout: Readout | None) -> tuple[Tensor, KeysValues]:
    """Run the whole model on tokens and keep every layer's keys and values; see `run` for the rest.

    Raises InputError for a model whose cache cannot be cut at a position (see `has_suffix_runs`).
    """
    if not has_suffix_runs(model):
        raise InputError("this model keeps no plain key/value cache; run it over all positions instead")
    cache = DynamicCache()
    if readout is None or not can_read_narrowly(model):
        out = _forward(model, tokens, 0, cache)
        out = out if readout is None else readout.gather(out)
    else:
        out = read_out(model, _until(model, "ln_final.hook_in", tokens, 0, cache), readout)
    return out, KeysValues(tuple(layer.keys for layer in cache.layers), tuple(layer.values for layer in cache.layers))


def read_out(model: Any, residual: Float[Tensor, "batch pos d_model"], readout: Readout) -> Float[Tensor, "batch read"]:
    """Final norm and the wanted columns of the unembedding, at the wanted positions of the last residual stream."""
    positions = readout.positions.to(residual.device)
    picked = residual.gather(1, positions[..., None].expand(*positions.shape, residual.shape[-1]))
    normed = model.ln_final(picked)
    if readout.columns is None:
        logits = torch.nn.functional.linear(normed, model.W_U.T, _bias(model))
        return model.adapter.apply_output_logits_transform(logits).flatten(1)
    columns = readout.columns.to(residual.device)
    weights = model.W_U.T[columns.clamp(min=0)]  # [batch, read_col, d_model]
    logits = torch.einsum("bpd,bcd->bpc", normed, weights.to(normed.dtype))
    bias = _bias(model)
    if bias is not None:
        logits = logits + bias[columns.clamp(min=0)][:, None, :]
    logits = model.adapter.apply_output_logits_transform(logits)
    return logits.masked_fill(columns[:, None, :] < 0, 0.0).flatten(1)


def has_suffix_runs(model: Any) -> bool:
    """Whether a run may cover only the last positions: the model keeps a plain, uncut key/value cache.

    Models built by `boot_native` keep none, and sliding-window layers forget what a later position still needs.
    """
    config = getattr(model.original_model, "config", None)
    if config is None or not hasattr(config, "get_text_config"):
        return False
    layers = DynamicCache(config=config).layers
    return all(type(layer) is DynamicLayer for layer in layers)


_NARROW: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def can_read_narrowly(model: Any) -> bool:
    """Whether final norm, unembedding columns and output transform reproduce the model's own logits.

    Tried once a model, on three tokens. While somebody hooks the final norm or the unembedding, the answer is no:
    their hooks expect every position and the whole vocabulary.
    """
    points = hook_points(model)
    tail = [name for name in points if name.startswith(("ln_final.", "unembed.")) or name == "hook_unembed"]
    if any(points[name].fwd_hooks or points[name].bwd_hooks for name in tail):
        return False
    if model not in _NARROW:
        _NARROW[model] = _narrow_is_exact(model)
    return _NARROW[model]


@torch.no_grad()
def _narrow_is_exact(model: Any) -> bool:
    if not hasattr(model, "ln_final"):
        return False
    tokens = torch.arange(3, device=embedding_device(model))[None] % int(model.cfg.d_vocab)
    final: list[Tensor] = []
    points = hook_points(model)
    with unhooked(points.values()), hooked(points["ln_final.hook_in"], lambda value: final.append(value.clone())):
        logits = model(tokens)
    columns = torch.arange(min(64, logits.shape[-1]), device=tokens.device)[None]
    readout = Readout(torch.tensor([[2]], device=tokens.device), columns)
    ours, theirs = read_out(model, final[0], readout).float(), readout.gather(logits).float()
    spread = float((theirs - theirs.mean()).abs().max()) or 1.0
    tolerance = 1e-4 if logits.dtype == torch.float32 else 2e-2
    return float((ours - theirs).abs().max()) <= tolerance * spread


def _bias(model: Any) -> Tensor | None:
    """The unembedding's bias, or None where the model has none."""
    bias = getattr(getattr(model.unembed, "original_component", None), "bias", None)
    return bias if isinstance(bias, Tensor) else None


def _forward(model: Any, x: Tensor, start: int, cache: Any) -> Tensor:
    keywords: dict[str, Any] = {"return_type": "logits"}
    if hasattr(model.original_model, "config"):
        # Without this a Hugging Face model fills a cache that nobody reads.
        keywords |= {"past_key_values": cache} if cache is not None else {"use_cache": False}
    if not x.is_floating_point():
        return model(x, **keywords)
    with _entering(model, x, start):
        return model(torch.zeros_like(x), **keywords)


def _until(model: Any, hook: str, x: Tensor, start: int, cache: Any) -> Tensor:
    """Run until a hook point and return what passes it, after everybody else's hooks on it."""

    def stop(value: Tensor) -> None:
        raise StopForward(value)

    with hooked(hook_points(model)[hook], stop):
        try:
            _forward(model, x, start, cache)
        except StopForward as end:
            return end.value
    raise InputError(f"this model never reaches {hook!r}; it has no such stage")


@contextlib.contextmanager
def _entering(model: Any, x: Tensor, start: int) -> Iterator[None]:
    """Make the blocks before `start` pass anything through without running, and `start` take `x` as its input."""
    extras = _returned_beside_hidden(model) if start else None

    def pass_through(*args: Any, **kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        return hidden if extras is None else (hidden, *extras)

    def enter(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ((x, *args[1:]), kwargs) if args else ((), kwargs | {"hidden_states": x})

    handle = model.blocks[start].register_forward_pre_hook(enter, with_kwargs=True)
    skipped = list(model.blocks[:start])
    for block in skipped:
        block.__dict__["forward"] = pass_through
    try:
        yield
    finally:
        handle.remove()
        for block in skipped:
            del block.__dict__["forward"]


_EXTRAS: weakref.WeakKeyDictionary[Any, tuple[None, ...] | None] = weakref.WeakKeyDictionary()


@torch.no_grad()
def _returned_beside_hidden(model: Any) -> tuple[None, ...] | None:
    """Stand-ins for what the blocks return after the hidden state, None when they return just that.

    Some models read a fixed place of the tuple (GPT-J, Bloom: the attention weights). Seen once a model, on one token.
    """
    if model not in _EXTRAS:
        seen: list[tuple[None, ...] | None] = []

        def look(module: Any, args: Any, output: Any) -> None:
            seen.append((None,) * (len(output) - 1) if isinstance(output, tuple) else None)
            raise StopForward

        handle = model.blocks[0].register_forward_hook(look)
        try:
            with unhooked(hook_points(model).values()), contextlib.suppress(StopForward):
                model(torch.zeros((1, 1), dtype=torch.long, device=embedding_device(model)))
        finally:
            handle.remove()
        _EXTRAS[model] = seen[0]
    return _EXTRAS[model]


def _check_range(
    model: Any,
    x: Tensor,
    start: int,
    stop: int | None,
    n_layers: int,
    past: KeysValues | None,
    readout: Readout | None,
) -> None:
    end = n_layers if stop is None else stop
    if not 0 <= start <= end <= n_layers or (start == n_layers):
        raise InputError(f"cannot run blocks {start} to {end} of a model with {n_layers}; start must come before stop")
    if not x.is_floating_point() and start:
        raise InputError(f"block {start} takes the residual stream [batch, pos, d_model]; tokens only enter at block 0")
    if readout is not None and stop is not None:
        raise InputError("a readout needs the logits; leave stop out")
    for name, batch in (("past", past and past.keys[0].shape[0]), ("readout", readout and readout.positions.shape[0])):
        if batch and x.shape[0] % batch:
            raise InputError(f"the batch of {x.shape[0]} is no multiple of the {name}'s batch of {batch}")
    first = 0 if past is None else past.length
    if readout is not None and readout.positions.device.type == "cpu":
        outside = (readout.positions < first) | (readout.positions >= first + x.shape[1])
        if bool(outside.any()):
            bad = int(readout.positions[outside][0])
            raise InputError(
                f"the readout's position {bad} is not among those that run, {first} to {first + x.shape[1] - 1}"
            )
    if past is not None and not has_suffix_runs(model):
        raise InputError("this model keeps no plain key/value cache; run it over all positions instead")
