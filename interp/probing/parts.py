"""Parts of long work, stored and found again: of `fit` the probes of one model at some layers of one kind of site, of a
causal test what it found at one layer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from interp.errors import InputError
from interp.probing.solving.families import Family
from interp.probing.solving.linear import Linear
from interp.probing.validating import Design, Measured, measure
from interp.results import Axis, Provenance, Result, Values, load
from interp.results.describing import RESULT_FILE
from interp.results.plain import plain
from interp.runs.progress_bars import Progress

Advance = Callable[[int], None]
"""Told how many steps more are done."""
BYTES_AT_ONCE = {"cpu": 256 * 2**20, "cuda": 4 * 2**30}
"""Of what the optimiser works on at a time: on a CPU about what its caches profit from."""


class ProbePart(Result):
    """Numbers of one part: correct, loss [position, layer, variant, example] and what else `Measured` has; of a causal
    test whatever tensors it has found.
    """

    kind: ClassVar[str] = "probe_part"


def probe_sites(
    family: Family, x: Tensor, design: Design, device: torch.device, advance: Callable[[int], None]
) -> Measured:
    """`measure` for any number of sites, as many at a time as memory and caches like. `x`: [site, example, feature].

    `advance` is told how many sites are done with each fold.
    """
    n_columns = max(design.n_classes, family.hidden if family.name == "mlp" else 0)
    columns = n_columns * max(len(design.fitted), 9)
    a_site = x.shape[1] * (4 * x.shape[2] + 6 * columns) * 4
    step = max(1, BYTES_AT_ONCE.get(device.type, 2**30) // a_site)
    found = []
    for rows in x.split(step):
        found.append(measure(family, rows.to(device), design, functools.partial(advance, len(rows))))
    return _joined(found)


def _joined(found: Sequence[Measured]) -> Measured:
    probes = [one.probe for one in found if one.probe is not None]
    probe = None
    if probes:
        fields = [torch.cat([getattr(one, name) for one in probes]) for name in ("weight", "bias", "converged")]
        probe = Linear(*fields)
    names = ("correct", "loss", "l2", "tried", "code")
    joined = {name: torch.cat([getattr(one, name) for one in found]) for name in names}
    return Measured(**joined, probe=probe, converged=torch.cat([one.converged for one in found]))


def part_of(
    found: Measured, design: Design, positions: Sequence[str], layers: Sequence[int], settings: dict[str, Any]
) -> ProbePart:
    """What was measured, with its axes: sites are positions times layers, position-major."""
    site = (Axis("position", tuple(positions)), Axis("layer", tuple(layers)))
    variants = Axis("variant", tuple(range(found.correct.shape[1])))
    examples = Axis("example", tuple(range(found.correct.shape[2])))
    folds = Axis("fold", tuple(range(design.n_folds)))
    tried = Axis("penalty", tuple(range(found.tried.shape[2])))
    coded = Axis("variant", tuple(range(found.code.shape[1])))
    plain: dict[str, tuple[Tensor, tuple[Axis, ...]]] = {
        "correct": (found.correct.to(torch.uint8), (variants, examples)),
        "loss": (found.loss, (variants, examples)),
        "l2": (found.l2, (folds,)),
        "tried": (found.tried, (folds, tried)),
        "code": (found.code, (coded,)),
        "converged": (found.converged, ()),
    }
    if found.probe is not None:
        weight = found.probe.weight[:, 0]
        columns = Axis("column", tuple(range(weight.shape[1])))
        plain["weight"] = (weight, (columns, Axis("feature", tuple(range(weight.shape[2])))))
        plain["bias"] = (found.probe.bias[:, 0], (columns,))
    sizes = (len(positions), len(layers))
    values = {name: Values(data.unflatten(0, sizes), (*site, *axes)) for name, (data, axes) in plain.items()}
    return ProbePart(values=values, settings=settings, provenance=_nowhere())


class Keeper:
    """The parts of one question, each computed or found again, and a bar that counts both.

    keep: the directory of parts, None for none. asked: everything that decides their numbers; a part that was made with
    anything else is computed again.
    """

    def __init__(self, keep: str | Path | None, asked: Mapping[str, Any], bar: Progress[None]) -> None:
        self.keep, self.asked, self.bar = keep, asked, bar
        self.n_found = 0

    def part(
        self, name: str, which: Mapping[str, Any], steps: int, compute: Callable[[dict[str, Any], Advance], ProbePart]
    ) -> Result:
        """The part of this name. which: what sets it apart from the question's others. steps: of the bar, in all.

        compute: makes it out of its settings, and tells how many steps are done.
        """
        settings = plain({**self.asked, **which}, "settings")
        n_done, computed = 0, False
        self.bar.note = f"part {name}" + (f"; {self.n_found} found again" if self.n_found else "")

        def advance(n: int) -> None:
            nonlocal n_done
            n_done += n
            self.bar.advance(n)

        def work() -> ProbePart:
            nonlocal computed
            computed = True
            return compute(settings, advance)

        found = _kept(self.keep, name, settings, work)
        if computed:
            self.bar.advance(steps - n_done)
        else:
            self.n_found += 1
            self.bar.resume(steps)
        return found

    def numbers(
        self, name: str, which: Mapping[str, Any], steps: int, compute: Callable[[Advance], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The same for a part that is plain tensors by name."""

        def made(settings: dict[str, Any], advance: Advance) -> ProbePart:
            return _of_numbers(compute(advance), settings)

        return {name: item.data for name, item in self.part(name, which, steps, made).values.items()}


def _of_numbers(numbers: Mapping[str, Tensor], settings: dict[str, Any]) -> ProbePart:
    """Tensors as a part, on axes that mean nothing."""
    values = {
        name: Values(data, tuple(Axis(f"axis {i}", tuple(range(size))) for i, size in enumerate(data.shape)))
        for name, data in numbers.items()
    }
    return ProbePart(values=values, settings=settings, provenance=_nowhere())


def _nowhere() -> Provenance:
    """A part says in its settings where it comes from."""
    return Provenance(model={}, task={}, seed=None, environment={}, started="", ended="")


def _kept(keep: str | Path | None, name: str, settings: dict[str, Any], compute: Callable[[], ProbePart]) -> Result:
    """The part stored under this name with the same settings, else computed (and stored where `keep` says)."""
    if keep is None:
        return compute()
    directory = Path(keep).expanduser() / name
    if (directory / RESULT_FILE).exists():
        try:
            found = load(directory)
        except InputError:  # damaged: a process was killed while it wrote
            found = None
        if found is not None and dict(found.settings) == settings:
            return found
    part = compute()
    part.save(directory)
    return part
