"""Reading the representations that are compared: one forward pass of each model over the texts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from interp.errors import InputError
from interp.hooks.capturing import capture
from interp.hooks.prompts import prompt_tokens
from interp.hooks.references import usual_lengths
from interp.models import identity
from interp.runs import progress
from interp.similarity.naming import SiteNames, site_names
from interp.similarity.planning import Plan, Reading, Sites, layer_meaning, plan
from interp.tasks.prompting import Prompts

PASS_TOKENS = 4096
"""Tokens of one forward pass, pads included."""
MEMORY_BUDGET = 4 * 2**30

Label = str | int


@dataclass(frozen=True, eq=False)
class Representations:
    """Representations of the same tokens: at several sites of one model, or of two.

    first, second: one [n, d] for each label; d may differ. second is empty for one model. documents [n]: which text a
    token is from, in order. settings, notes, task, models: what a result says of where they come from.
    """

    first: tuple[Float[Tensor, "n _"], ...]
    labels: tuple[Label, ...]
    documents: Int[Tensor, " n"]
    second: tuple[Float[Tensor, "n _"], ...] = ()
    second_labels: tuple[Label, ...] = ()
    models: tuple[dict[str, Any], ...] = ()
    task: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    started: datetime = field(default_factory=datetime.now)

    @property
    def n(self) -> int:
        """Tokens (or words, or documents) that are compared."""
        return len(self.documents)

    @property
    def names(self) -> SiteNames:
        """How sites are called in sentences, the first ones before the second."""
        return site_names(self.labels, self.second_labels, self.models)

    def take(self, rows: Shaped[Tensor, " rows"]) -> Representations:
        """Some of the tokens, by their places or a mask."""
        return replace(
            self,
            first=tuple(x[rows] for x in self.first),
            second=tuple(y[rows] for y in self.second),
            documents=self.documents[rows],
        )


def represent(
    model: Any,
    texts: Prompts,
    other: Any = None,
    *,
    sites: Sites = None,
    other_sites: Sites = None,
    align: str = "auto",
    prepend_bos: bool = False,
    skip_first: bool = True,
    drop_outliers: bool = True,
    memory_budget: int = MEMORY_BUDGET,
) -> Representations:
    """Read what is to be compared, in one forward pass of each model.

    texts: a text, a list of texts, token ids [batch, pos] or a task; each is one document. other: a second model, read
    at other_sites. sites: default is the residual stream: layer L enters block L, the last is the output of the last
    block. align: how tokens of two tokenizers are paired (see `interp.similarity.aligning`); "word" and "document" also
    serve one model. skip_first: leave out the first position of every text; drop_outliers: leave out tokens that are
    over ten times as long as the median token at any of the sites. Both guard against massive activations (Sun et al.
    2024), which would otherwise be all that the measures see.
    Raises InputError for sites, texts or alignments that do not fit, and for more than memory_budget bytes.
    """
    started = datetime.now()
    reading = plan(
        model,
        texts,
        other,
        sites=sites,
        other_sites=other_sites,
        align=align,
        prepend_bos=prepend_bos,
        skip_first=skip_first,
    )
    read = [_read_all(each, reading.align, memory_budget // len(reading.plans)) for each in reading.plans]
    documents = _documents(reading)
    rows = None
    if drop_outliers and reading.align != "document":
        rows = torch.stack([usual_tokens(x) for xs in read for x in xs]).all(0).cpu()
    notes = list(reading.notes)
    if rows is not None and not rows.all():
        notes.append(outlier_note(int((~rows).sum()), len(rows), len(read)))
        read, documents = [[x[rows] for x in xs] for xs in read], documents[rows]
    return Representations(
        first=tuple(read[0]),
        labels=reading.plans[0].labels,
        second=tuple(read[1]) if len(read) == 2 else (),
        second_labels=reading.plans[1].labels if len(read) == 2 else (),
        documents=documents,
        **described(reading, texts, skip_first, drop_outliers),
        notes=tuple(notes),
        started=started,
    )


def described(reading: Reading, texts: Prompts, skip_first: bool, drop_outliers: bool) -> dict[str, Any]:
    """What results say of where their representations come from: models, task and settings."""
    describe = getattr(texts, "describe", None)
    tokens = sum(int(each.tokens.lengths.sum()) for each in reading.plans[:1])
    settings = {
        "sites": [[str(site) for site in each.sites] for each in reading.plans],
        "layers": [layer_meaning(each.sites, each.labels) for each in reading.plans],
        "align": reading.align,
        "prepend_bos": reading.prepend_bos,
        "skip_first": skip_first,
        "drop_outliers": drop_outliers,
        "n_texts": len(reading.plans[0].kept),
        "n_tokens_read": tokens,
        "tokens_sha256": [_tokens_sha256(each.tokens) for each in reading.plans],
    }
    models = tuple(identity(each.model) for each in reading.plans)
    return {"models": models, "task": describe() if describe else None, "settings": settings}


def _tokens_sha256(tokens: Tensor) -> str:
    return hashlib.sha256(tokens.as_subclass(Tensor).cpu().contiguous().numpy().tobytes()).hexdigest()


def usual_tokens(x: Float[Tensor, "n d"]) -> Tensor:
    """True for tokens at most ten times as long as the median one; for all where that is 0, as sparse latents are."""
    return usual_lengths(torch.linalg.vector_norm(x, dim=1))


def outlier_note(dropped: int, n: int, n_models: int = 1) -> str:
    """How a result says that tokens were left out for their length."""
    site = "some site of either model" if n_models == 2 else "some site"
    return (
        f"{dropped} of {n} tokens are left out: at {site} they are over ten times as long as the median "
        "token there (drop_outliers=False, --keep-outliers, keeps them)."
    )


def passes(reading: Reading) -> Iterator[tuple[range, list[list[Tensor]]]]:
    """Read both models a few documents at a time: the documents, and for each model [kept, d] at every site."""
    lengths = torch.stack([each.tokens.lengths.cpu() for each in reading.plans]).max(0).values.tolist()
    for rows in rows_a_pass(lengths):
        yield rows, [_read(each, rows) for each in reading.plans]


def rows_a_pass(lengths: Sequence[int], pass_tokens: int = PASS_TOKENS) -> list[range]:
    """Ranges of documents of at most `pass_tokens` tokens when filled up to the longest of them, or of one document."""
    ranges, start, longest = [], 0, 0
    for i, length in enumerate(lengths):
        longest = max(longest, length)
        if i > start and longest * (i + 1 - start) > pass_tokens:
            ranges.append(range(start, i))
            start, longest = i, length
    return [*ranges, range(start, len(lengths))]


def document_of(reading: Reading, rows: range) -> Int[Tensor, " kept"]:
    """Which document each kept token of some documents is from."""
    return torch.arange(rows.start, rows.stop).repeat_interleave(
        torch.tensor([len(reading.plans[0].kept[i]) for i in rows])
    )


def _documents(reading: Reading) -> Int[Tensor, " n"]:
    everything = range(len(reading.plans[0].kept))
    return torch.arange(len(everything)) if reading.align == "document" else document_of(reading, everything)


def _read_all(plan_: Plan, align: str, memory_budget: int) -> list[Tensor]:
    """Every site's [n, d], filled pass by pass."""
    out: list[Tensor] = []
    filled, n = 0, len(plan_.kept) if align == "document" else plan_.n_kept
    lengths = plan_.tokens.lengths.tolist()
    with progress(len(lengths), "reading texts") as bar:
        for rows in rows_a_pass(lengths):
            read = _read(plan_, rows)
            if align == "document":
                read = [_means(x, [len(plan_.kept[i]) for i in rows]) for x in read]
            if not out:
                _check_memory(read, n, memory_budget)
                out = [x.new_empty(n, x.shape[1]) for x in read]
            for whole, part in zip(out, read):
                whole[filled : filled + len(part)] = part
            filled += len(read[0])
            bar.advance(len(rows))
    return out


@torch.no_grad()
def _read(plan_: Plan, rows: range) -> list[Tensor]:
    """The kept tokens of some documents at every site, [kept, d] in float32 (float64 stays), on the model's device."""
    prompts = plan_.tokens.rows(slice(rows.start, rows.stop))
    width = int(prompts.lengths.max())
    cut = prompt_tokens(prompts.as_subclass(Tensor)[:, :width], lengths=prompts.lengths)
    acts = capture(plan_.model, cut, plan_.sites)
    batch = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor([len(plan_.kept[i]) for i in rows]))
    positions = torch.cat([plan_.kept[i] for i in rows])
    read = []
    for site in plan_.sites:
        value = acts[site]
        x = value[batch.to(value.device), positions.to(value.device)].flatten(1)
        read.append(x if x.dtype == torch.float64 else x.float())
    return read


def _means(x: Float[Tensor, "kept d"], sizes: Sequence[int]) -> Float[Tensor, "document d"]:
    """The mean over each document's tokens."""
    return torch.stack([part.mean(0) for part in x.split(list(sizes))])


def _check_memory(read: Sequence[Tensor], n: int, memory_budget: int) -> None:
    wanted = sum(x.shape[1] * x.element_size() for x in read) * n
    if wanted > memory_budget:
        raise InputError(
            f"{n} tokens at {len(read)} sites are {wanted / 2**30:.1f} GiB and memory_budget leaves "
            f"{memory_budget / 2**30:.1f}; give fewer texts or sites, raise memory_budget, or use "
            "interp.similarity.cka(..., minibatch=512), which keeps none of them"
        )
