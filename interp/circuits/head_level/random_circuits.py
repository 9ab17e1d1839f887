"""Random circuits of the same shape: what any heads of these layers would do at these positions."""

from __future__ import annotations

from typing import Any

from interp.circuits.head_circuits import HeadCircuit
from interp.heads.knocking_out import draw_heads
from interp.hooks.head_names import head_name


def random_circuits(model: Any, circuit: HeadCircuit, n: int, seed: int) -> tuple[list[HeadCircuit], dict[str, Any]]:
    """`n` circuits with another head for each of the circuit's own, and what to say about the draw (JSON-able).

    Every head is replaced by one of the same layer that is not in the circuit, in the same classes and hence at the
    same positions; where a layer has none left, by one of any layer ("layers_matched" is then false). No circuit is
    drawn where more than half of the model's heads are in it, or it has none; "left_out" says so.
    """
    own = list(circuit.all_heads)
    n_heads = int(model.cfg.n_layers) * int(model.cfg.n_heads)
    if n < 1 or not own or n_heads < 2 * len(own):
        why = "none were asked for" if n < 1 else f"{len(own)} of {n_heads} heads are in the circuit"
        return [], {"n": 0, "left_out": why}
    draws, matched = draw_heads(model, own, [], n, seed)
    # Both lists are sorted and hold as many heads of each layer, so that partners share their layer.
    circuits = [_replaced(circuit, dict(zip(own, draw))) for draw in draws]
    named = [[head_name(head) for head in draw] for draw in draws]
    return circuits, {"n": n, "seed": seed, "layers_matched": matched, "draws": named}


def p_value(n_as_extreme: int, n_random: int) -> float:
    """(1 + random circuits at least as extreme) / (1 + random circuits); NaN without any."""
    return (1 + n_as_extreme) / (1 + n_random) if n_random else float("nan")


def _replaced(circuit: HeadCircuit, partner: dict[tuple[int, int], tuple[int, int]]) -> HeadCircuit:
    heads = {name: tuple(partner[head] for head in group) for name, group in circuit.heads.items()}
    return HeadCircuit(heads, circuit.positions)
