"""Who receives a path: the logits, or the queries, keys or values of heads, by name ("23.3.q")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from interp.errors import InputError, nearest
from interp.hooks import sites
from interp.hooks.head_names import Head, HeadLike, as_heads, head_name

LETTERS = ("q", "k", "v")
LOGITS = "logits"
ReceiverLike = str | tuple[str, int, int]


@dataclass(frozen=True, order=True)
class Receiver:
    """One input of one query head: its queries, or its own copy of the keys or values it reads."""

    layer: int
    head: int
    letter: str

    def __str__(self) -> str:
        return f"{self.layer}.{self.head}.{self.letter}"


def as_receivers(model: Any, given: Iterable[ReceiverLike] | ReceiverLike) -> tuple[Receiver, ...]:
    """Receivers from "23.3.q", "a23.3.q", ("q", 23, 3) or a list of these, sorted; () stands for the logits.

    "a23.kv1.k" names the keys of a key/value group: those of every query head that shares them. Raises InputError for
    what is no receiver of this model, for an empty list, and for the logits together with heads.
    """
    single = isinstance(given, str) or (isinstance(given, tuple) and len(given) == 3 and given[0] in LETTERS)
    items: list[Any] = [given] if single else list(given)
    if not items:
        raise InputError("no receivers were given; name 'logits' or inputs of heads such as '9.9.q'")
    if LOGITS in items:
        if len(items) > 1:
            raise InputError("paths end at the logits or at heads, not at both; ask for one, then for the other")
        return ()
    received = {receiver for item in items for receiver in _as_receivers(model, item)}
    for receiver in received:
        sites.check(model, sites.z(receiver.layer), [receiver.head])
        if receiver.layer == 0:
            raise InputError(f"no head comes before {receiver}: it reads the embeddings")
    return tuple(sorted(received))


def as_senders(model: Any, given: Iterable[HeadLike] | HeadLike | None, receivers: Sequence[Receiver]) -> list[Head]:
    """The heads that send, None for all that have a way to a receiver. Raises InputError for one that has none."""
    n_layers, n_heads = int(model.cfg.n_layers), int(model.cfg.n_heads)
    last = max((receiver.layer for receiver in receivers), default=n_layers)
    if given is None:
        return [(layer, head) for layer in range(last) for head in range(n_heads)]
    heads = as_heads(model, given)
    for head in heads:
        if head[0] >= last:
            raise InputError(
                f"head {head_name(head)} does not come before any receiver (they end in layer {last}); "
                "leave it out, or name a later receiver"
            )
    return heads


def shares_keys(model: Any) -> bool:
    """Whether several query heads read the same keys and values (grouped-query attention)."""
    return queries_per_group(model) > 1


def queries_per_group(model: Any) -> int:
    """How many query heads read one key/value head."""
    return int(model.cfg.n_heads) // int(model.cfg.n_key_value_heads or model.cfg.n_heads)


def _as_receivers(model: Any, item: Any) -> list[Receiver]:
    parts = item.removeprefix("a").split(".") if isinstance(item, str) else [*item[1:], item[0]]
    names = [str(part) for part in parts]
    if len(names) != 3 or not names[0].isdigit():
        raise InputError(f"{item!r} names no receiver; write 'logits', '9.9.q' or ('q', 9, 9)")
    layer, head, letter = int(names[0]), names[1], names[2]
    if letter not in LETTERS:
        raise InputError(f"{item!r} names no receiver: a head receives by q, k or v{nearest(letter, LETTERS)}")
    size = queries_per_group(model)
    group = head.removeprefix("kv")
    if group != head and group.isdigit() and letter != "q":
        return [Receiver(layer, int(group) * size + i, letter) for i in range(size)]
    if not head.isdigit():
        raise InputError(f"{item!r} names no receiver; write 'logits', '9.9.q' or ('q', 9, 9)")
    return [Receiver(layer, int(head), letter)]
