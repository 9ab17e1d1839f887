"""`IoiSettings`: what decides the numbers of the IOI experiment."""

from __future__ import annotations

from dataclasses import dataclass

from interp.errors import InputError
from interp.results import FEWEST


@dataclass(frozen=True)
class IoiSettings:
    """What decides the numbers.

    n: prompt pairs for behaviour, lens, attribution, attention and backups. n_maps: pairs for the patching maps. seed:
    of the prompts. prepend_bos: begin with BOS. corruption: of the patching maps. n_logits, n_queries, n_values,
    n_keys: pairs for the paths into the logits, the positive name writers' queries, the S-inhibition heads' values and
    the induction heads' keys (a pair costs the more the earlier the receivers' position is). n_copying: prompts whose
    names the heads are asked to copy. n_random: prompts of random tokens for the head scores. edges: also find the
    circuit of edges. Raises InputError for fewer than two prompts of any kind.
    """

    n: int = 120
    n_maps: int = 16
    seed: int = 0
    prepend_bos: bool = False
    corruption: str = "abc"
    n_logits: int = 32
    n_queries: int = 16
    n_values: int = 8
    n_keys: int = 8
    n_copying: int = 10
    n_random: int = 8
    edges: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be measured, before a model is loaded for it."""
        for name, value in vars(self).items():
            if name.startswith("n") and value < 2:
                raise InputError(
                    f"{name} = {value} is too few prompts for a mean; give at least 2, and {FEWEST} or more for "
                    "intervals"
                )

    @classmethod
    def quick(cls) -> IoiSettings:
        """The same questions in a quarter of the time: fewer prompts, wider intervals; nowhere too few for any."""
        return cls(n=30, n_maps=5, n_logits=16, n_queries=8, n_values=5, n_keys=5, n_copying=5, n_random=5)
