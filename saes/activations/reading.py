"""`Harvest`, `harvest` and `Source`: how a model is read, from one forward pass that stops after the last site."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks.capturing import capture
from interp.hooks.partial import embedding_device
from interp.hooks.sites import Site, as_site, shape
from interp.models import identity
from interp.models.tokens import bos_token, tokenizer_of
from saes.activations.keeping import ordinary
from saes.activations.rows import LocalRows, Rows, RowSource, StreamedRows, pack
from saes.activations.texts import Texts

_LOG = logging.getLogger("saes")
FROM_HUB = 4
"""Of a data set on the hub so many times the held-out prompts wanted are read to choose from."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Harvest:
    """How a model is read."""

    context_size: int = 256
    """Tokens of a prompt."""
    prepend_bos: bool = False
    """Open every prompt and every document with BOS."""
    exclude_special: bool = True
    """Leave out special tokens (first positions and outliers of norm are always left out)."""
    prompts_per_pass: int = 8
    """Prompts in one forward."""
    buffer: int = 65_536
    """Tokens in the shuffle reservoir."""
    dtype: str = "float32"
    """float32 or bfloat16, for the reservoir and for shards."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"dtype is float32 or bfloat16, not {self.dtype!r}")
        if self.context_size < 2 or self.prompts_per_pass < 1:
            raise InputError("context_size is at least 2 tokens, prompts_per_pass at least 1 prompt")


@torch.no_grad()
def harvest(
    model: Any, tokens: Int[Tensor, "row pos"], sites: Sequence[Site], excluded: Iterable[int] = ()
) -> tuple[dict[str, Float[Tensor, "tokens _"]], Int[Tensor, "tokens 2"]]:
    """Activations of the tokens that count at several sites, and each one's (row, position).

    A token counts when it does at every site, so that all sites hold the same tokens. Heads of q, k, v and z are laid
    side by side. Raises InputError for activations that are NaN or infinite.
    """
    acts = capture(model, tokens, sites)
    values = {site: acts[site].flatten(2) for site in sites}
    kept = torch.ones(tokens.shape, dtype=torch.bool, device=values[sites[0]].device)
    for site in sites:
        # A finite sum has finite parts only, and costs less than asking every entry.
        if not torch.isfinite(values[site].sum()) and not torch.isfinite(values[site]).all():
            raise InputError(f"activations at {site} are NaN or infinite; try dtype float32 for the model")
        kept &= ordinary(values[site], tokens.to(values[site].device), excluded=set(excluded)).to(kept.device)
    where = kept.nonzero()
    index = where[:, 0] * tokens.shape[1] + where[:, 1]
    return {str(site): each.flatten(0, 1)[index.to(each.device)] for site, each in values.items()}, where.cpu()


def width(model: Any, site: Site) -> int:
    """Numbers a token has at a site, heads side by side. Raises InputError for a site that has no fixed number."""
    sizes = shape(model, site)
    if "key" in sizes:
        raise InputError(f"{site} has a number for every other token, which no dictionary learns; choose another site")
    return math.prod(size for size in sizes.values() if size is not None)


class Pass(NamedTuple):
    """Tokens of one or more forward passes that count.

    activations: by site, [n, d_in]. tokens [n]: their ids. documents [n]: number of each one's document, counted on
    its side of the split. places [n]: in the document. positions [n]: in the prompt the model saw.
    """

    activations: dict[str, Float[Tensor, "n _"]]
    tokens: Int[Tensor, " n"]
    documents: Int[Tensor, " n"]
    places: Int[Tensor, " n"]
    positions: Int[Tensor, " n"]


class Source:
    """A model over texts, one forward pass after the other.

    rows: the texts in tokens, and where it stands in them. widths: d_in by site. excluded: token ids left out.
    """

    def __init__(
        self, model: Any, texts: Texts, sites: Sequence[Site | str], settings: Harvest | None = None, seed: int = 0
    ) -> None:
        """sites: where to read. Raises InputError when the texts are shorter than one context."""
        self.model, self.texts, self.settings, self.seed = model, texts, settings or Harvest(), seed
        self.sites = [as_site(site) for site in sites]
        if not self.sites:
            raise InputError("no sites were given; name at least one, such as blocks.15.hook_resid_post")
        self.widths = {str(site): width(model, site) for site in self.sites}
        self.device, self.dtype = embedding_device(model), DTYPES[self.settings.dtype]
        tokenizer = tokenizer_of(model)
        bos = bos_token(model) if self.settings.prepend_bos else None
        self.excluded: set[int] = set(tokenizer.all_special_ids) if self.settings.exclude_special else set()
        self._packing = (tokenizer, self.settings.context_size, bos)
        self.rows: RowSource = (
            StreamedRows(texts, *self._packing) if texts.on_hub else LocalRows(texts, *self._packing, seed)
        )

    def read(self, rows: Rows) -> Pass:
        """What the model makes of some rows, on its device, in the dtype of the settings."""
        acts, where = harvest(self.model, rows.tokens.to(self.device), self.sites, self.excluded)
        row, position = where.unbind(1)
        tokens, documents, places = (values[row, position] for values in rows)
        return Pass({name: values.to(self.dtype) for name, values in acts.items()}, tokens, documents, places, position)

    def next_pass(self) -> Pass:
        """The next prompts, and after the last ones the first again."""
        return self.read(self.rows.next_rows(self.settings.prompts_per_pass))

    def next_pass_of_epoch(self) -> Pass | None:
        """The next prompts, or None when the texts have been gone through."""
        rows = self.rows.rows_of_epoch(self.settings.prompts_per_pass)
        return self.read(rows) if len(rows.tokens) else None

    def held_out_passes(self, n: int) -> Iterator[Pass]:
        """Passes over up to `n` prompts of held-out documents."""
        rows = self.held_out_rows(n)
        for start in range(0, len(rows.tokens), self.settings.prompts_per_pass):
            yield self.read(Rows(*(values[start : start + self.settings.prompts_per_pass] for values in rows)))

    def held_out_rows(self, n: int) -> Rows:
        """Up to `n` prompts of held-out documents, spread over them; none when nothing is held out."""
        return held_out_rows(self.texts, *self._packing, n)

    def describe(self) -> dict[str, Any]:
        """Model, texts, sites and settings, as plain values."""
        who = identity(self.model)
        return {
            "model": who["id"],
            "weights_sha256": who["weights_sha256"],
            "texts": self.texts.describe(),
            "sites": [str(site) for site in self.sites],
            "harvest": asdict(self.settings),
            "seed": self.seed,
        }


def joined(passes: Sequence[Pass]) -> Pass:
    """Several passes as one."""
    names: Mapping[str, Any] = passes[0].activations
    acts = {name: torch.cat([part.activations[name] for part in passes]) for name in names}
    return Pass(acts, *(torch.cat(parts) for parts in zip(*(part[1:] for part in passes))))


def held_out_rows(texts: Texts, tokenizer: Any, length: int, bos: int | None, n: int) -> Rows:
    """Up to `n` prompts of held-out documents, spread over them (of a data set on the hub over the first, since it may
    have no end), and a warning where they fill fewer; none when nothing is held out."""
    packed = pack(texts.documents(held_out=True), tokenizer, length, bos) if texts.held_out else iter(())
    rows = list(itertools.islice(packed, n * FROM_HUB if texts.on_hub else None))
    if 0 < len(rows) < n:
        _LOG.warning("held-out documents fill only %d prompts of %d tokens, of %d wanted", len(rows), length, n)
    if not rows:
        return Rows(*(torch.zeros(0, length, dtype=torch.long) for _ in Rows._fields))
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:n].sort().values
    return Rows(*(torch.cat(parts) for parts in zip(*(rows[i] for i in chosen.tolist()))))


def held_out_prompts(model: Any, texts: Texts, settings: Harvest, n: int) -> tuple[Int[Tensor, "row pos"], list[int]]:
    """Up to `n` prompts of held-out documents on the model's device, and the token ids that do not count.

    Raises InputError when the held-out documents do not fill one.
    """
    tokenizer = tokenizer_of(model)
    bos = bos_token(model) if settings.prepend_bos else None
    tokens = held_out_rows(texts, tokenizer, settings.context_size, bos, n).tokens
    if not len(tokens):
        raise InputError(nothing_held_out(texts, settings))
    excluded = sorted(tokenizer.all_special_ids) if settings.exclude_special else []
    return tokens.to(embedding_device(model)), excluded


def nothing_held_out(texts: Texts, settings: Harvest) -> str:
    """Why there is nothing to measure on, and what to do."""
    if not texts.held_out:
        return f"no document of {texts.source} is held out (held_out is 0); hold out a share of them, such as 0.05"
    return (
        f"the held-out documents of {texts.source} (a share of {texts.held_out:g}) do not fill one prompt of "
        f"{settings.context_size} tokens; hold out more of them (held_out), give more texts, or use shorter prompts"
    )
