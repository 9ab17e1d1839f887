"""Running a model from a changed state on: what comes before the change is computed once, and only once.

Hundreds of interventions at the same token of the same prompts (random directions, strengths) differ only from that
token and that layer on. So the keys and values of all earlier tokens and the stream entering the layer are kept, and a
run covers nothing else: with the change at the last token of a prompt, one token through the later blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.hooks.partial import KeysValues, has_suffix_runs, hooked, run, run_recording
from interp.hooks.readout import Readout
from interp.hooks.sites import Site, hook_point
from interp.probing.causal.places import Places

Edit = Callable[[Float[Tensor, "place feature"], Int[Tensor, " place"]], Float[Tensor, "place feature"]]
"""New states from old ones; the second argument says which places they belong to."""


@dataclass(eq=False)
class Chunk:
    """Some places whose changed tokens stand near each other, with what was computed before the change.

    offset: the first position that runs again. entering: the stream entering each block, from the offset on.
    """

    rows: Int[Tensor, " row"]
    tokens: Int[Tensor, "row pos"]
    offset: int
    past: KeysValues | None
    entering: dict[int, Float[Tensor, "row suffix d_model"]]

    def of_rows(self, index: Int[Tensor, " row"]) -> Chunk:
        """Some of its places, by their index within it."""
        here = index.to(self.tokens.device)
        past = None if self.past is None else self.past.rows(here)
        entering = {block: stream[here] for block, stream in self.entering.items()}
        return Chunk(self.rows[index], self.tokens[here], self.offset, past, entering)


def entry(model: Any, site: Site) -> Site:
    """The site at which a change is made: a block's output is the next block's input, where one block less runs."""
    if site.kind == "resid_post" and site.layer is not None and site.layer + 1 < int(model.cfg.n_layers):
        return Site("resid_pre", site.layer + 1)
    return site


@dataclass(eq=False)
class Stage:
    """A model before one change at each place, at any of some sites.

    states: what passes the sites at the places, [site, place, feature]. log_probs: of the unchanged run where the
    prediction is read.
    """

    model: Any
    places: Places
    sites: tuple[Site, ...]
    batch_size: int = 128
    states: Float[Tensor, "site place feature"] = field(init=False)
    log_probs: Float[Tensor, "place vocab"] = field(init=False)

    @torch.no_grad()
    def __post_init__(self) -> None:
        order = self.places.at.argsort(stable=True)
        states: list[Tensor] = []
        log_probs: list[Tensor] = []
        self.chunks = []
        for rows in order.split(self.batch_size):
            chunk, found, logits = self._recorded(rows)
            self.chunks.append(chunk)
            states.append(found)
            log_probs.append(logits.float().log_softmax(-1))
        back = order.argsort()
        self.states = torch.cat(states, dim=1)[:, back.to(states[0].device)]
        self.log_probs = torch.cat(log_probs)[back.to(log_probs[0].device)]

    def _recorded(self, rows: Int[Tensor, " row"]) -> tuple[Chunk, Tensor, Tensor]:
        """One pass over whole prompts: keys and values, streams entering blocks, states at the places, logits."""
        places = self.places.rows(rows)
        tokens = places.tokens[:, : int(places.read.max()) + 1]
        offset = int(places.at.min()) if has_suffix_runs(self.model) else 0
        readout = Readout(places.read[:, None].to(tokens.device), None)
        starts = sorted({entry(self.model, site).layer or 0 for site in self.sites})
        entering: dict[int, Tensor] = {}
        states: dict[Site, Tensor] = {}
        row = torch.arange(len(rows), device=tokens.device)

        def keep(block: int) -> Callable[[Tensor], None]:
            return lambda value: entering.update({block: value[:, offset:].clone()})

        def read(site: Site) -> Callable[[Tensor], None]:
            at = places.at.to(tokens.device)
            return lambda value: states.update({site: value[row, at].flatten(1).float()})

        past = None
        with contextlib.ExitStack() as stack:
            for block in starts:
                stack.enter_context(hooked(hook_point(self.model, Site("resid_pre", block)), keep(block)))
            for site in self.sites:
                stack.enter_context(hooked(hook_point(self.model, site), read(site)))
            if offset:
                logits, recorded = run_recording(self.model, tokens, readout)
                past = recorded.prefix(offset)
            else:
                logits = run(self.model, tokens, readout=readout)
        stacked = torch.stack([states[site] for site in self.sites])
        return Chunk(rows, tokens, offset, past, entering), stacked, logits

    def logits(
        self, site: Site, edit: Edit, columns: Int[Tensor, " column"] | None = None
    ) -> Float[Tensor, "place column"]:
        """Logits where the prediction is read, of these tokens (default: the whole vocabulary), after the change."""
        parts = [self._changed(chunk, site, edit, columns) for chunk in self.chunks]
        back = torch.cat([chunk.rows for chunk in self.chunks]).argsort()
        return torch.cat(parts)[back.to(parts[0].device)]

    def _changed(self, chunk: Chunk, site: Site, edit: Edit, columns: Tensor | None) -> Tensor:
        places = self.places.rows(chunk.rows)
        where = (places.at - chunk.offset).to(chunk.tokens.device)
        here = torch.arange(len(where), device=where.device)

        def change(value: Tensor) -> Tensor:
            old = value[here, where]
            new = edit(old.flatten(1), chunk.rows).to(value.dtype).view_as(old)
            return value.index_put((here, where), new)

        wanted = None if columns is None else columns.to(chunk.tokens.device).expand(len(where), -1)
        readout = Readout(places.read[:, None].to(chunk.tokens.device), wanted)
        with hooked(hook_point(self.model, entry(self.model, site)), change):
            return self.resumed(chunk, site, readout)

    def resumed(self, chunk: Chunk, site: Site, readout: Readout) -> Tensor:
        """The run of a chunk from the block of a site on; hooks fire as usual."""
        start = entry(self.model, site).layer or 0
        return run(self.model, chunk.entering[start], start, past=chunk.past, readout=readout)
