"""One prompt, one forward pass: where heads attend, what each layer would predict, and who writes the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import torch
from torch import Tensor

from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.capturing import Activations, capture
from interp.hooks.head_names import Head, HeadLike, as_heads, head_name
from interp.hooks.readout import Readout
from interp.hooks.sites import Site
from interp.lens.decomposing import component_sites, source_contributions
from interp.lens.directions import has_output_transform
from interp.lens.layerwise import lens_entries, read_layers
from interp.lens.lens_values import lens_texts, lens_values
from interp.lens.look_plots import look_plots
from interp.lens.neurons import neuron_sites, neuron_values, products
from interp.lens.questions import Question, Token, ask, position_names
from interp.lens.splitting import Split, by_component, by_head, strongest
from interp.lens.writers import Written, written_by
from interp.models import identity
from interp.models.tokens import to_strings
from interp.results import Axis, Result, Values
from interp.runs import provenance
from interp.tasks.prompting import Prompts, has_bos, strings_of

MAX_BYTES = 2**31
"""Activations that one look may hold."""
LENS_POSITIONS = 64
"""The lens reads the last so many positions: each costs an unembedding for every layer."""


class Look(Result):
    """What is seen of one prompt. Contributions are to the target's logit (less the distractor's) at the last token.

    head_contribution [layer, head]; component_contribution [component]; source_contribution [head, source] and pattern
    [head, query, key] of the chosen heads; queries, keys [head, position, dim] of the same, as they enter the score;
    log_prob, rank [layer, position, target], entropy, top_ids, top_log_probs: the logit lens; total, error: the logit
    difference, and what the contributions miss of it by rounding.
    """

    kind: ClassVar[str] = "look"

    def neuron_view(self, head: str, query: int = -1) -> Values:
        """q_i · k_i of one query token with every key [key, dim], scaled so that the sum over dim is the score.

        Raises InputError for a head that was not among the chosen ones.
        """
        return products(self.values, self.settings, head, query)


def look(
    model: Any,
    text: Prompts,
    *,
    target: Token | None = None,
    distractor: Token | None = None,
    heads: Sequence[HeadLike] | HeadLike | int = 12,
    top_k: int = 10,
    prepend_bos: bool = False,
) -> Look:
    """Attention, logit lens and direct attribution of one prompt, from a single forward pass.

    text: a text, or token ids [pos]. target, distractor: what to attribute the logit (difference) of, at the last
    token; default: the model's most probable token, relative to the mean over the vocabulary. heads: whose patterns,
    sources and query-key products are kept: how many of those that contribute most, names ("18.6"), or all with a
    large number. top_k: most probable tokens kept of every layer and position.

    Raises InputError for several prompts, a prompt of one token, targets of several tokens, and prompts so long that
    their activations take more than 2 GiB.
    """
    started = datetime.now()
    question = ask(model, text, target, distractor, None, prepend_bos)
    n_prompts, n_pos = question.prompts.shape
    if n_prompts != 1 or n_pos < 2:
        wrong = f"{n_prompts} prompts" if n_prompts != 1 else "one token"
        raise InputError(f"look takes one prompt of at least two tokens, not {wrong}; BOS counts with prepend_bos=True")
    _check_size(model, n_pos)
    acts = _run(model, question)
    layers = list(range(int(model.cfg.n_layers)))
    found = written_by(model, _last_position(acts), question, slice(0, 1), layers)
    chosen = strongest(found, heads) if isinstance(heads, int) else as_heads(model, heads)
    values = _written_values(found) | _source_values(model, question, found, acts, chosen)
    values |= _lens_values(model, question, acts, top_k)
    neurons, scale = neuron_values(model, acts, chosen)
    names = to_strings(model, found.answers[0])
    settings = {
        "heads": [head_name(head) for head in chosen],
        "prepend_bos": has_bos(text, prepend_bos),
        "top_k": top_k,
    }
    return Look(
        values=values | _pattern_values(acts, chosen) | neurons,
        settings=settings | question.settings | {"target": names, "score_scale": scale},
        provenance=provenance(model=identity(model), started=started),
        plots=look_plots(values, names[0], scale, has_output_transform(model)),
        texts={"tokens": strings_of(model, question.prompts), "target": names} | lens_texts(model, values),
    )


def _check_size(model: Any, n_pos: int) -> None:
    cfg = model.cfg
    n_heads, d_head = int(cfg.n_heads), int(cfg.d_head)
    a_layer = 3 * int(cfg.d_model) + 4 * n_heads * d_head + n_heads * n_pos
    size = 4 * n_pos * int(cfg.n_layers) * a_layer
    if size > MAX_BYTES:
        raise InputError(
            f"looking at {n_pos} tokens of this model takes {size / 2**30:.1f} GiB; shorten the text, or ask "
            "interp.heads.patterns, interp.lens.logit_lens and interp.lens.direct_attribution one by one"
        )


def _run(model: Any, question: Question) -> Activations:
    """Everything a look needs, at all positions, and the logits at the last one."""
    layers = range(int(model.cfg.n_layers))
    wanted: list[Site] = [*component_sites(model), *(sites.resid_pre(layer) for layer in layers)]
    for layer in layers:
        wanted += [sites.z(layer), sites.v(layer), sites.pattern(layer), *neuron_sites(model, layer)]
    tokens = question.prompts.as_subclass(Tensor)
    return capture(model, tokens, list(dict.fromkeys(wanted)), readout=Readout(question.position[:, None], None))


def _last_position(acts: Activations) -> Activations:
    """The same at the last position, for the sites that have a plain position dimension."""
    plain = [site for site in acts if isinstance(site, Site) and site.pos_dim == 1]
    return Activations({site: acts[site][:, -1] for site in plain}, acts.tokens, None, acts.logits)


def _written_values(found: Written) -> dict[str, Values]:
    def one(split: Split) -> Values:
        return Values(split.data[0], split.axes, "logits")

    return {
        "head_contribution": one(by_head(found)),
        "component_contribution": one(by_component(found)),
        "total": Values(found.total[0], (), "logits", "what the contributions add up to"),
        "error": Values(found.error[0].abs(), (), "logits", "what they miss of it, by rounding"),
    }


def _source_values(
    model: Any, question: Question, found: Written, acts: Activations, chosen: list[Head]
) -> dict[str, Values]:
    layers = sorted({layer for layer, _ in chosen})
    patterns = {layer: acts[sites.pattern(layer)][:, :, -1] for layer in layers}
    data = source_contributions(model, chosen, found.heads, patterns, {layer: acts[sites.v(layer)] for layer in layers})
    places = torch.arange(data.shape[2])[None]
    axes = (_head_axis(chosen), Axis("source", position_names(model, question.prompts, places)))
    return {"source_contribution": Values(data[0], axes, "logits")}


def _lens_values(model: Any, question: Question, acts: Activations, top_k: int) -> dict[str, Values]:
    entries = lens_entries(model, None, mid=False)
    kept = Activations(
        {site: acts[site][:, -LENS_POSITIONS:] for site in entries.values()}, acts.tokens, None, acts.logits
    )
    readings = read_layers(model, kept, [*entries.values()], entries[int(model.cfg.n_layers)], question.answers, top_k)
    n_pos = acts.tokens.shape[1]
    places = torch.arange(n_pos)[None, -LENS_POSITIONS:]
    names = position_names(model, question.prompts, places)
    group = "prediction" if question.answers is None else to_strings(model, question.answers[0])[0]
    return lens_values({group: 1}, list(entries), names, False, readings)


def _pattern_values(acts: Activations, chosen: list[Head]) -> dict[str, Values]:
    data = torch.stack([acts[sites.pattern(layer)][0, head].float() for layer, head in chosen])
    places = tuple(range(data.shape[1]))
    axes = (_head_axis(chosen), Axis("query", places), Axis("key", places))
    return {"pattern": Values(data, axes, "attention")}


def _head_axis(chosen: list[Head]) -> Axis:
    return Axis("head", tuple(head_name(head) for head in chosen))
