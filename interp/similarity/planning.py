"""What is read of which model: texts as tokens, the sites, and the tokens of each text that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks import sites as all_sites
from interp.hooks.capturing import AnySite
from interp.hooks.latents import LatentSite, as_any_site, plain_site
from interp.hooks.prompts import PromptTokens, prompt_tokens
from interp.hooks.sites import ATTENTION_KINDS
from interp.models import identity
from interp.similarity.aligning import check_align, paired, tokens_and_spans, word_ends
from interp.similarity.naming import site_names
from interp.tasks.prompting import Prompts, as_prompts
from interp.tasks.token_tensors import pad_right

Sites = Sequence[AnySite | str] | None
FEWEST_POINTS = 4
ENTERING = "stream entering block"
UNITS = {"word": "words", "document": "documents"}
"""What is compared, by how it was aligned; tokens where it is neither."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How one model is read.

    tokens [document, pos]; kept: of each document the positions that are compared; sites, and a label for each.
    """

    model: Any
    tokens: PromptTokens
    kept: tuple[Int[Tensor, " _"], ...]
    sites: tuple[AnySite, ...]
    labels: tuple[str | int, ...]

    @property
    def n_kept(self) -> int:
        """Tokens that are compared."""
        return sum(len(each) for each in self.kept)


@dataclass(frozen=True, eq=False)
class Reading:
    """Plans for one model or for two whose kept tokens correspond, with how they were aligned and what was left out."""

    plans: tuple[Plan, ...]
    align: str
    prepend_bos: bool | None
    notes: list[str] = field(default_factory=list)


def plan(
    model: Any,
    texts: Prompts,
    other: Any = None,
    *,
    sites: Sites = None,
    other_sites: Sites = None,
    align: str = "auto",
    prepend_bos: bool = False,
    skip_first: bool = True,
) -> Reading:
    """Decide what is read; runs nothing. See `interp.similarity.represent` for the arguments."""
    check_align(align)
    if other is None and other_sites is not None:
        raise InputError("other_sites are those of a second model; give other=, or name them in sites=")
    align = _alignment(model, other, texts, align)
    models = (model,) if other is None else (model, other)
    if align in ("token", "document"):
        prompts = [as_prompts(each, texts, prepend_bos=prepend_bos) for each in models]
        if align == "token" and len(prompts) == 2:
            _check_same_tokens(prompts)
        kept = [_real(each) for each in prompts]
    else:
        prompts, kept = _by_characters(models, texts, align, prepend_bos)
    if skip_first:
        kept = _without_first(kept, align)
    chosen = [_sites(each, wanted) for each, wanted in zip(models, (sites, other_sites))]
    plans = tuple(
        Plan(each, tokens, tuple(positions), *where)
        for each, tokens, positions, where in zip(models, prompts, kept, chosen)
    )
    if align == "document" and len(kept[0]) < FEWEST_POINTS:
        raise InputError(
            f"{len(kept[0])} texts are too few to compare as one point each; give {FEWEST_POINTS} or more, or compare "
            "their tokens (align)"
        )
    if align != "document" and plans[0].n_kept < FEWEST_POINTS:
        raise InputError(f"{plans[0].n_kept} tokens are left to compare; give more or longer texts")
    notes = []
    if skip_first:
        notes.append("First positions are left out: in many models they carry activations a hundred times the others'.")
    if len(plans) == 2 and align in ("character", "word"):
        owners = site_names((), (), [identity(each.model) for each in plans]).owners
        share = [each.n_kept / int(each.tokens.lengths.sum()) for each in plans]
        notes.append(
            f"Aligned by {align}s: {plans[0].n_kept} places, {share[0]:.0%} of the tokens of {owners[0]} and "
            f"{share[1]:.0%} of those of {owners[1]}."
        )
    return Reading(plans, align, None if isinstance(texts, Tensor) else prepend_bos, notes)


def _alignment(model: Any, other: Any, texts: Prompts, align: str) -> str:
    has_text = isinstance(texts, str) or (not isinstance(texts, Tensor) and hasattr(texts, "__getitem__"))
    is_text = has_text and not hasattr(texts, "clean")
    if align in ("character", "word") and not is_text:
        raise InputError(f"align={align!r} needs texts; token ids and tasks say nothing about another tokenizer")
    if align != "auto":
        return align
    if other is None or identity(model)["tokenizer_sha256"] == identity(other)["tokenizer_sha256"]:
        return "token"
    if not is_text:
        raise InputError('the models have different tokenizers; give texts, or align="token" if ids mean the same')
    return "character"


def _check_same_tokens(prompts: Sequence[PromptTokens]) -> None:
    """Refuse to pair tokens one by one where two tokenizers have made different ones of a text."""
    first, second = prompts
    if first.shape != second.shape or not torch.equal(first.lengths.cpu(), second.lengths.cpu()):
        raise InputError(
            "the two tokenizers cut these texts into different tokens, which do not correspond one by one; use "
            'align="character" (where both have read the same), "word" or "document"'
        )


def _real(prompts: PromptTokens) -> list[Tensor]:
    return [torch.arange(length) for length in prompts.lengths.tolist()]


def _by_characters(
    models: Sequence[Any], texts: Any, align: str, prepend_bos: bool
) -> tuple[list[PromptTokens], list[list[Tensor]]]:
    documents = [texts] if isinstance(texts, str) else list(texts)
    read = [[tokens_and_spans(model, text, prepend_bos) for text in documents] for model in models]
    kept: list[list[Tensor]] = [[] for _ in models]
    for i, text in enumerate(documents):
        spans = [of_model[i][1] for of_model in read]
        if len(spans) == 1:
            found = [sorted(word_ends(text, spans[0]).values()) if align == "word" else range(len(spans[0]))]
        else:
            found = list(paired(text, spans[0], spans[1], align))
        for mine, positions in zip(kept, found):
            mine.append(torch.tensor(list(positions), dtype=torch.long))
    prompts = []
    for model, of_model in zip(models, read):
        rows = [ids for ids, _ in of_model]
        lengths = torch.tensor([len(row) for row in rows])
        # as_prompts once more: it refuses what is empty or too long for the model
        prompts.append(as_prompts(model, prompt_tokens(pad_right(rows, pad_id=0), lengths=lengths)))
    return prompts, kept


def _without_first(kept: list[list[Tensor]], align: str) -> list[list[Tensor]]:
    """Take out what is at position 0 in any of the models, in all of them; of a text of one token nothing is left."""
    if align == "document":
        return [[row[row > 0] if len(row) > 1 else row for row in mine] for mine in kept]
    later = [torch.stack([row > 0 for row in rows]).all(0) for rows in zip(*kept)]
    return [[row[keep] for row, keep in zip(mine, later)] for mine in kept]


def _sites(model: Any, wanted: Sites) -> tuple[tuple[AnySite, ...], tuple[str | int, ...]]:
    """The sites and their labels: layers where they are the residual stream or all of one kind, else names."""
    if wanted is None:
        n_layers = int(model.cfg.n_layers)
        stream = [*(all_sites.resid_pre(layer) for layer in range(n_layers)), all_sites.resid_post(n_layers - 1)]
        return tuple(stream), tuple(range(n_layers + 1))
    found = [as_any_site(site) for site in ([wanted] if isinstance(wanted, str) else wanted)]
    if not found:
        raise InputError("no sites were given; name at least one, for example interp.sites.resid_post(5)")
    for site in found:
        plain = plain_site(site)
        all_sites.check(model, plain)
        if plain.kind in ATTENTION_KINDS:
            raise InputError(f"{plain.kind!r} has no vector for a token; compare z, attn_out or the stream instead")
    layers = [plain_site(site).layer for site in found]
    one_kind = len({(plain_site(site).kind, isinstance(site, LatentSite)) for site in found}) == 1
    if one_kind and None not in layers and len({*layers}) == len(layers):
        return tuple(found), tuple(int(layer) for layer in layers if layer is not None)
    return tuple(found), tuple(str(site) for site in found)


def layer_meaning(sites: Sequence[AnySite], labels: Sequence[str | int]) -> str:
    """What a number L among the labels counts, to be followed by "L": "stream entering block"; "" where none is one."""
    if not all(isinstance(label, int) for label in labels):
        return ""
    kinds = {plain_site(site).kind for site in sites}
    if kinds <= {"resid_pre", "resid_post"} and kinds != {"resid_post"}:
        return ENTERING
    (kind,) = kinds
    words = "stream after block" if kind == "resid_post" else f"{kind} of block"
    return f"latents, {words}" if isinstance(sites[0], LatentSite) else words
