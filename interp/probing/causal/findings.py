"""What a causal test found, in a few sentences made from its numbers, for abstracts and terminals."""

from __future__ import annotations

import math
from typing import Any

from interp.probing.causal.changed_tokens import place_finding
from interp.probing.causal.effects import CONTROLS, lacks_behaviour, last_block_words
from interp.probing.causal.erasing import METHODS, NOTHING
from interp.probing.causal.steering_plots import nearest_strength
from interp.results import Result

AS_FAR = CONTROLS[1]


def erasure_findings(found: Result) -> list[str]:
    """Of each method: where erasing costs most, beside random directions and on unrelated text."""
    return [_erasure(found, str(method)) for method in found.values["effect"].axis("method").labels]


def _erasure(found: Result, method: str) -> str:
    effects = _by_layer(found, "effect", method=method)
    if not effects:
        return f"{METHODS[method]} found nothing to erase at any layer: {NOTHING[method]}."
    layer = max(effects, key=lambda label: effects[label])
    most = _with_interval(found, "effect", layer, method=method)
    if "right" in found.values:
        right, before = _at(found, "right", layer, method=method), _one(found, "unchanged_right")
        what = (
            f"lowers the margin of the right answers by {most} of {_number(_one(found, 'unchanged_margin'))} logits, "
            f"and {_percent(right)} of the answers are right ({_percent(before)} before)"
        )
    else:
        what = f"changes the next-token prediction by {most} nats of KL"
    return (
        f"Erasing {_task(found)} by {METHODS[method]} at layer {layer} {what}"
        f"{_beside(found, 'effect', layer, control=AS_FAR, method=method)}."
        f"{_elsewhere(effects, layer)}{_above(found, control=AS_FAR, method=method)}"
        f"{_on_text(found, layer, control=AS_FAR, method=method)}{_conditions(found, layer)}"
    )


def steering_findings(found: Result) -> list[str]:
    """Where moving states by about the distance between the class means turns most, beside random directions."""
    strength = nearest_strength(found.values)
    effects = _by_layer(found, "effect", strength=strength)
    layer = max(effects, key=lambda label: effects[label])
    most = _with_interval(found, "effect", layer, strength=strength)
    if "turned" in found.values:
        turned, before = _at(found, "turned", layer, strength=strength), 1 - _one(found, "unchanged_right")
        what = (
            f"turns the margin of the right answers ({_number(_one(found, 'unchanged_margin'))} logits) by {most}, and "
            f"{_percent(turned)} of the answers are those of the other class ({_percent(before)} before)"
        )
    else:
        what = f"changes the next-token prediction by {most} nats of KL"
    times = "" if float(strength) == 1 else f"{strength} times "
    return [
        f"Moving states at layer {layer} towards the other class of {_task(found)}, by {times}the distance between the "
        f"class means, {what}{_beside(found, 'effect', layer, strength=strength)}."
        f"{_elsewhere(effects, layer)}{_above(found, strength=strength)}{_on_text(found, layer, strength=strength)}"
        f"{_conditions(found, layer)}"
    ]


def alignment_findings(found: Result) -> list[str]:
    """Where exchanging the learnt subspace brings the other answer, beside the whole state and random subspaces."""
    learnt, means, whole = (str(name) for name in found.values["accuracy"].axis("subspace").labels)
    shares = _by_layer(found, "accuracy", subspace=learnt)
    layer = max(shares, key=lambda label: shares[label])
    rank = found.values["basis"].data.shape[1]
    share, low, high = (_at(found, f"accuracy{end}", layer, subspace=learnt) for end in ("", "_low", "_high"))
    between = "" if math.isnan(low) else f" [{100 * low:.0f}, {100 * high:.0f}]"
    before, more = _before(found, layer, learnt)
    beside = [f"{name} {_percent(_at(found, 'accuracy', layer, subspace=name))}" for name in (whole, means)]
    draws = found.values["random_accuracy"].sel(layer=layer, control=AS_FAR).data
    if len(draws):
        beside.append(f"random directions that move states as far {_percent(float(draws.mean()))}")
    kept = _at(found, "kept", layer, subspace=learnt)
    fitted = found.values["fitted_accuracy"].sel(layer=layer)
    anything = ""
    if "arbitrary" in fitted.axes[0].labels:
        true, arbitrary = (_percent(float(fitted.sel(answers=name).data)) for name in ("true", "arbitrary"))
        anything = f" Of its training pairs the search fits {true}, and {arbitrary} where answers are arbitrary."
    others = {label: value for label, value in shares.items() if label != layer}
    second = max(others, key=lambda label: others[label]) if others else None
    return [
        f"Exchanging {rank} learnt dimension{'s' * (rank > 1)} of the state at layer {layer} between prompts of "
        f"different classes of {_task(found)} brings the other prompt's answer in {_percent(share)}{between} of the "
        f"pairs ({before}{', '.join(beside)}){more}; between prompts of one class it leaves {_percent(kept)} of "
        "the answers right."
        + ("" if second is None else f" At the other layers it is at most {_percent(others[second])} (layer {second}).")
        + f"{anything} Unrelated text pays {_number(_at(found, 'text_kl', layer, subspace=learnt))} nats of KL."
        + _conditions(found, layer)
    ]


def _before(found: Result, layer: int, subspace: str) -> tuple[str, str]:
    """The share before any exchange, and that the exchange is not shown to add to it, of results that hold these."""
    if "unchanged_accuracy" not in found.values:
        return "", ""
    shown = _at(found, "accuracy_gain_low", layer, subspace=subspace) > 0
    more = "" if shown else ", which is not shown to be more than before"
    return f"{_percent(_one(found, 'unchanged_accuracy'))} before; ", more


# ---- words -----------------------------------------------------------------------------------------------------------


def _task(found: Result) -> str:
    return str(found.provenance.task.get("name") or "the property").replace("_", " ")


def _one(found: Result, name: str) -> float:
    return float(found.values[name].data)


def _at(found: Result, name: str, layer: int, **where: Any) -> float:
    return float(found.values[name].sel(layer=layer, **where).data)


def _by_layer(found: Result, name: str, **where: Any) -> dict[int, float]:
    """A number of every layer at which there is one."""
    values = found.values[name].sel(**where)
    rows = zip(values.axis("layer").labels, values.data.tolist())
    return {int(label): float(value) for label, value in rows if not math.isnan(value)}


def _with_interval(found: Result, name: str, layer: int, **where: Any) -> str:
    mean, low, high = (_at(found, name + end, layer, **where) for end in ("", "_low", "_high"))
    return _number(mean) + ("" if math.isnan(low) else f" [{_number(low)}, {_number(high)}]")


def _beside(found: Result, name: str, layer: int, **where: Any) -> str:
    """The same of random directions."""
    draws = found.values[f"random_{name}"].sel(layer=layer, **where).data
    return f"; random directions that move states as far: {_number(float(draws.mean()))}" if len(draws) else ""


def _elsewhere(effects: dict[int, float], layer: int) -> str:
    others = {label: value for label, value in effects.items() if label != layer}
    if not others:
        return ""
    second = max(others, key=lambda label: others[label])
    return f" At the other layers it is at most {_number(others[second])} (layer {second})."


def _above(found: Result, **where: Any) -> str:
    """At which layers the effect is larger than every random one, both by their size: where p is as small as can be."""
    n = found.values["random_effect"].sel(**where).data.shape[-1]
    if not n:
        return ""
    real = {name: label for name, label in where.items() if name != "control"}
    effects = _by_layer(found, "effect", **real)
    layers = [layer for layer, p in _by_layer(found, "p", **where).items() if p < 1.5 / (1 + n)]
    if not layers:
        return f" At no layer is it larger than with each of {n} random directions."
    size = ", by its size," if any(effects[layer] < 0 for layer in layers) else ""
    named = ", ".join(map(str, layers))
    return f" It is larger{size} than with each of {n} random directions at layer{'s' * (len(layers) > 1)} {named}."


def _on_text(found: Result, layer: int, **where: Any) -> str:
    real = {name: label for name, label in where.items() if name != "control"}
    draws = found.values["random_text_kl"].sel(layer=layer, **where).data
    beside = f" (random directions {_number(float(draws.mean()))})" if len(draws) else ""
    return f" Unrelated text pays {_number(_at(found, 'text_kl', layer, **real))} nats of KL{beside}."


def _conditions(found: Result, layer: int) -> str:
    """What else decides what the numbers mean: which token is changed, the last block, a model that guesses."""
    return place_finding(found.settings.get("changed")) + _at_the_end(found, layer) + _without_behaviour(found)


def _at_the_end(found: Result, layer: int) -> str:
    """Said where the layer of most effect is the last block's output."""
    last = found.settings.get("last_block")
    return "".join(f" But {words}." for words in last_block_words(last)) if last and last["layer"] == layer else ""


def _without_behaviour(found: Result) -> str:
    """Said where the unchanged model guesses, so that its answers cannot show what it uses."""
    if "unchanged_right" not in found.values:
        return ""
    right = _one(found, "unchanged_right")
    if not lacks_behaviour(right, len(found.settings["classes"])):
        return ""
    return (
        f" But the unchanged model is right in {_percent(right)} only: it does not have this behaviour, and its "
        "answers cannot show what it uses."
    )


def _number(value: float) -> str:
    """Three significant digits, or two of what is small."""
    return f"{value:.{3 if abs(value) >= 1 else 2}g}".replace("-", "−")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
