"""`TrainConfig`: everything a training needs to know, in one YAML file; a list in a dictionary's entry is a grid.

model: smollm2-135m
sites: [blocks.15.hook_resid_post]
dictionaries:
  - {architecture: topk, d_sae: 4608, k: [16, 32, 64]}
  - {architecture: jumprelu, d_sae: 4608, target_l0: 32}
fit: {n_tokens: 4000000, batch_size: 2048}
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import cattrs
import yaml
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError

from interp.errors import InputError, unknown
from saes.activations.harvesting import Harvest
from saes.activations.texts import Texts
from saes.architectures import ARCHITECTURES, DictionaryConfig, as_config
from saes.training.loggers import check_logger
from saes.training.settings import FitSettings

LISTS = ("prefixes",)
"""Keys of dictionaries whose values are lists anyway, so that a list of them is no grid."""
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainConfig:
    """What to train, on what, how."""

    dictionaries: tuple[dict[str, Any], ...]
    """Entries with `architecture`, `d_sae` and what else that architecture takes; d_in is the site's. A list in place
    of a value stands for one dictionary of each value, several lists for all combinations. n_seeds in an entry trains
    so many of each, in place of fit.n_seeds."""
    sites: tuple[str, ...]
    """Where activations are read, such as blocks.15.hook_resid_post; every dictionary is trained at every site."""
    model: str = "smollm2-135m"
    """A Hugging Face id, a local directory, smollm2-135m, or a model object's name."""
    model_dtype: str = "float32"
    """float32 or bfloat16, in which the model runs; bfloat16 reads activations faster on most machines."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    texts: Texts = field(default_factory=Texts)
    """Which documents."""
    harvest: Harvest = field(default_factory=Harvest)
    """How the model is read."""
    activations: str | None = None
    """A directory that `saes.write_shards` made of this model and these texts, to train on in place of the model at
    work; how it was read then holds in place of `harvest`."""
    fit: FitSettings = field(default_factory=FitSettings)
    """How the dictionaries are trained."""
    evaluate_prompts: int = 64
    """Held-out prompts on which the finished dictionaries are measured inside the model (0: not at all)."""
    warm_start: str | None = None
    """A directory with a dictionary to begin from, for every entry of its size."""
    logger: str = "none"
    """wandb or trackio: where numbers go beside log.jsonl, which they go to in any case."""
    project: str = "sparse-dictionaries"
    """The project's name there."""

    def __post_init__(self) -> None:
        check_logger(self.logger)
        if self.model_dtype not in DTYPES:
            raise unknown("model_dtype", self.model_dtype, DTYPES)
        if not self.sites:
            raise InputError("sites is empty; name at least one, such as blocks.15.hook_resid_post")
        if not self.dictionaries:
            raise InputError("dictionaries is empty; give at least one entry with architecture and d_sae")
        if self.activations is None and self.fit.batch_size > self.harvest.buffer:
            raise InputError(
                f"a batch of {self.fit.batch_size} tokens is larger than the shuffle buffer of {self.harvest.buffer}; "
                "choose a smaller batch_size (under fit) or a larger buffer (under harvest)"
            )
        if self.warm_start is not None and self.fit.normalise == "whiten":
            raise InputError("a warm start cannot be combined with normalise 'whiten'; choose 'mean-norm' (under fit)")
        if self.evaluate_prompts < 0:
            raise InputError(f"evaluate_prompts has to be at least 0, not {self.evaluate_prompts}")
        for entry in self.dictionaries:
            for config in check_entry(entry):
                self.fit.check(config)

    def configs(self, d_in: int) -> dict[DictionaryConfig, int]:
        """The configurations of all dictionaries at a site of width `d_in`, and how many seeds of each. Raises
        InputError when two entries are the same."""
        found: dict[DictionaryConfig, int] = {}
        for given in self.dictionaries:
            for entry in expand(given):
                n_seeds = int(entry.pop("n_seeds", self.fit.n_seeds))
                config = as_config({**entry, "d_in": d_in})
                if config in found:
                    raise InputError(f"two entries of dictionaries are the same: {entry}; n_seeds: 2 trains two of one")
                found[config] = n_seeds
        return found


def check_entry(entry: Mapping[str, Any]) -> list[DictionaryConfig]:
    """What an entry stands for, at a site of width 1. Raises InputError for one that no dictionary can be made of,
    whatever the width."""
    if "architecture" not in entry or "d_sae" not in entry:
        raise InputError(
            f"an entry of dictionaries needs architecture and d_sae; this one has {', '.join(entry) or 'none'}"
        )
    if entry["architecture"] not in ARCHITECTURES:
        raise unknown("architecture", str(entry["architecture"]), list(ARCHITECTURES))
    known = [each.name for each in fields(ARCHITECTURES[entry["architecture"]]) if each.name != "d_in"]
    for key in entry:
        if key not in ("architecture", "n_seeds", *known):
            raise unknown(f"key of {entry['architecture']}", key, known)
    made = []
    for one in expand(entry):
        n_seeds = one.pop("n_seeds", 1)
        if not isinstance(n_seeds, int) or n_seeds < 1:
            raise InputError(f"n_seeds is how many dictionaries of a kind are trained, at least 1, not {n_seeds!r}")
        made.append(as_config({**one, "d_in": 1}))
    return made


def expand(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the values that an entry lists."""
    choices = {
        key: value if isinstance(value, Sequence) and not isinstance(value, str) and key not in LISTS else [value]
        for key, value in entry.items()
    }
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values))


def read_config(path: str | Path) -> TrainConfig:
    """The configuration in a YAML file. Raises InputError for a file that is none, and for unknown keys, with the
    nearest that exist."""
    try:
        given = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(given, dict):
        raise InputError(f"{path} has to hold keys and values, such as model: and sites:")
    return structure(given)


def structure(given: Mapping[str, Any], kind: type[Any] = TrainConfig) -> Any:
    """The configuration, or the part of one, that plain values describe."""
    given = {key: _long(key, value) for key, value in given.items()} if kind is TrainConfig else given
    try:
        return _converter().structure(given, kind)
    except (BaseValidationError, InputError) as error:
        raise _told(error) from error


def _long(key: str, value: Any) -> Any:
    """One site and one dictionary need no list, and texts are mostly told by their source alone."""
    if (key == "sites" and isinstance(value, str)) or (key == "dictionaries" and isinstance(value, dict)):
        return [value]
    return {"source": value} if key == "texts" and isinstance(value, str) else value


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    # YAML reads 1e-3 and 4e6 as text: they mean numbers.
    converter.register_structure_hook(float, lambda value, _: float(value))
    converter.register_structure_hook(int, lambda value, _: _whole(value))
    return converter


def _whole(value: Any) -> int:
    number = float(value)
    if isinstance(value, bool) or number != int(number):
        raise ValueError(f"{value!r} is no whole number")
    return int(value) if isinstance(value, int) else int(number)


def _told(error: BaseException) -> InputError:
    """The first thing that is wrong, in one sentence."""
    for inner in _leaves(error):
        if isinstance(inner, InputError):
            return inner
        if isinstance(inner, ForbiddenExtraKeysError):
            (key, *_) = sorted(inner.extra_fields)
            return unknown("key", key, [each.name for each in fields(inner.cl)])
    (first, *_) = cattrs.transform_error(error)
    what, _, where = first.partition(" @ $.")
    if what == "required field missing":
        return InputError(f"the configuration lacks the key {where}")
    return InputError(f"{where} in the configuration: {what}")


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def with_options(config: TrainConfig, **options: Any) -> TrainConfig:
    """The configuration with some fields replaced: its own, or those of `fit`, `harvest` and `texts` by name.

    An option that is None changes nothing. Raises InputError for one that is nowhere.
    """
    for name, value in options.items():
        if value is None:
            continue
        for part in (None, "fit", "harvest", "texts"):
            holder = config if part is None else getattr(config, part)
            if name in {each.name for each in fields(holder)}:
                changed = replace(holder, **{name: value})
                config = changed if part is None else replace(config, **{part: changed})  # type: ignore[arg-type]
                break
        else:
            raise unknown("option", name, [each.name for each in fields(FitSettings)])
    return config
