"""How dictionaries begin: names, normalisation, directions, thresholds, and how this machine computes their steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from saes.activations.streams import Stream
from saes.architectures import Dictionary, DictionaryConfig, JumpReLUDictionary
from saes.architectures.normalisation import fit_normalisation
from saes.kernels.calibration import Plan, calibrate
from saes.training.engine import Engine
from saes.training.settings import FitSettings
from saes.training.trainee import Trainee

SAMPLE = 32_768
"""Tokens from which means and norms are taken."""
THRESHOLD_SAMPLE = 4096
"""Tokens from which JumpReLU's first thresholds are taken."""


def name_all(
    configs: Sequence[DictionaryConfig], widths: Mapping[str, int], n_seeds: int | Mapping[DictionaryConfig, int] = 1
) -> dict[str, tuple[str, DictionaryConfig]]:
    """Every configuration at every site of its width, by a name that says what it is: (site, configuration).

    n_seeds: how many of each, by configuration or for all; where there are several, names end in -seed0, -seed1 and so
    on. Raises InputError for a configuration that fits no site, for a site that none fits, or two that are the same.
    """
    named: dict[str, tuple[str, DictionaryConfig]] = {}
    for config in configs:
        fitting = [site for site, width in widths.items() if width == config.d_in]
        if not fitting:
            found = ", ".join(f"{site}: {width}" for site, width in widths.items())
            raise InputError(f"a dictionary of d_in = {config.d_in} fits no site ({found})")
        several = n_seeds if isinstance(n_seeds, int) else n_seeds[config]
        for site in fitting:
            for number in range(several):
                parts = [site] if len(widths) > 1 else []
                name = "-".join([*parts, config.label(), *([f"seed{number}"] if several > 1 else [])])
                if name in named:
                    raise InputError(f"there are two dictionaries {name}; each has to differ from the others")
                named[name] = (site, config)
    empty = [f"{site}: {width}" for site, width in widths.items() if site not in {where for where, _ in named.values()}]
    if empty:
        given = ", ".join(str(d_in) for d_in in dict.fromkeys(config.d_in for config in configs))
        raise InputError(
            f"no dictionary fits the sites ({', '.join(empty)}), only d_in = {given} was given; leave these sites out, "
            "or give a dictionary of their width"
        )
    return named


def make_trainees(
    named: Mapping[str, tuple[str, DictionaryConfig]],
    stream: Stream,
    settings: FitSettings,
    device: torch.device,
    started: Dictionary | None = None,
) -> list[Trainee]:
    """Fresh dictionaries, each with a plan measured for its size and a normalisation fitted to its site.

    Dictionaries of one size begin with the same directions, whatever their architecture and whatever else is trained
    beside them, unless they are told apart by a seed. started: one to begin from where it fits.
    """
    sample = stream.sample(SAMPLE)
    engine = replace(settings.engine, dead_after=settings.dead_after)
    plans: dict[tuple[int, int], Plan] = {}
    trainees = []
    for name, (site, config) in named.items():
        x = sample[site].double()
        if not torch.isfinite(x).all():
            raise InputError(f"the activations at {site} hold NaN or infinity; find out where they come from first")
        second = x.T @ x / len(x) if settings.normalise == "whiten" else x.square().mean(0)
        normalisation = fit_normalisation(settings.normalise, x.mean(0), second)
        seed = settings.seed * 1_000_003 + _number(name)
        dictionary = config.build(torch.Generator().manual_seed(seed)).to(device)
        seen = normalisation.apply(sample[site])
        with torch.no_grad():
            dictionary.b_dec.copy_(seen.mean(0))
        if isinstance(dictionary, JumpReLUDictionary) and dictionary.config.initial_threshold is None:
            _start_thresholds(dictionary, seen[:THRESHOLD_SAMPLE])
        if started is not None and (started.d_in, started.d_sae) == (config.d_in, config.d_sae):
            normalisation.unfold_into(started, dictionary)
        size = (config.d_in, config.d_sae)
        if size not in plans:
            plans[size] = settings.plan or calibrate(*size, device, settings.precision)
            plans[size].apply()
        trainees.append(Trainee(name, site, Engine(dictionary, engine, plans[size]), normalisation, seed))
    return trainees


def _number(name: str) -> int:
    """The number behind -seed at a name's end."""
    return int(name.rpartition("-seed")[2]) if "-seed" in name else 0


@torch.no_grad()
def _start_thresholds(dictionary: JumpReLUDictionary, x: Float[Tensor, "tokens d_in"]) -> None:
    """One threshold for all, over which as many latents lie as are wanted: otherwise half of them begin active, and
    the thresholds spend the training on their way up."""
    h = dictionary.pre_activations(x).flatten()
    wanted = min(h.numel(), max(1, round(len(x) * dictionary.config.target_l0)))
    smallest: Tensor = h.topk(wanted).values[-1]
    dictionary.threshold.fill_(max(float(smallest), 0.0))
