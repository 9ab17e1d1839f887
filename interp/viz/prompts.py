"""The prompts a result was computed on: each with its tokens and its own values, cut to its own length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interp.errors import InputError
from interp.results.plots import check_plot
from interp.viz.arranging import Array, as_array

if TYPE_CHECKING:
    from interp.results import Axis, Plot, Result, Values

EXAMPLE = "example"


@dataclass(frozen=True, eq=False)
class Prompt:
    """One prompt: its name, its tokens, and its values with the dimensions of `Values` less the example axis.

    Token dimensions come last and are as long as `tokens` (padding is cut off).
    """

    name: str
    tokens: list[str]
    data: Array


def prompts_of(result: Result, plot: Plot, token_axes: tuple[str, ...]) -> list[Prompt]:
    """The prompts of an attention or text plot. `token_axes` are the axes that run over tokens, moved to the end.

    Tokens are `result.texts["tokens"]` (a list of strings per prompt, or one list), else the labels of the token axis.
    """
    check_plot(plot, result.values)
    values = result.values[plot.values]
    for name in token_axes:
        values.axis(name)
    order = [name for name in (EXAMPLE, *_others(result, plot, token_axes), *token_axes) if name in values.dims]
    data = as_array(values).transpose([values.dims.index(name) for name in order])
    if EXAMPLE not in values.dims:
        data = data[None]
        labels: tuple[str | int, ...] = ("",)
    else:
        labels = values.axis(EXAMPLE).labels
    tokens = _tokens(result, values.axis(token_axes[-1]), labels)
    return [_prompt(label, tokens[i], data[i], len(token_axes)) for i, label in enumerate(labels)]


def _prompt(label: str | int, tokens: list[str], data: Array, n_token_axes: int) -> Prompt:
    n = min(len(tokens), *data.shape[-n_token_axes:])
    cut: tuple[Any, ...] = (Ellipsis, *[slice(0, n)] * n_token_axes)
    name = f"prompt {label}" if isinstance(label, int) else label
    return Prompt(name, tokens[:n], data[cut])


def _tokens(result: Result, axis: Axis, labels: tuple[str | int, ...]) -> list[list[str]]:
    """One list of tokens per prompt."""
    texts = result.texts.get("tokens")
    if texts is None:
        return [[str(label) for label in axis.labels]] * len(labels)
    lists = [texts] if texts and isinstance(texts[0], str) else list(texts)
    if len(lists) == 1 and len(labels) > 1:
        lists = lists * len(labels)
    if len(lists) != len(labels):
        raise InputError(
            f"texts['tokens'] has {len(lists)} prompts, the values {len(labels)}: give one list of tokens per prompt"
        )
    return [[str(token) for token in tokens] for tokens in lists]


def _others(result: Result, plot: Plot, token_axes: tuple[str, ...]) -> list[str]:
    return [name for name in result.values[plot.values].dims if name != EXAMPLE and name not in token_axes]


def heads_of(values: Values, without: tuple[str, ...] = ("query", "key")) -> list[str]:
    """Names of the heads, in the order of the flattened axes that are left: "L18H6"; [""] where there is none."""
    names = [""]
    for axis in values.axes:
        if axis.name not in (EXAMPLE, *without):
            names = [_joined(name, axis, label) for name in names for label in axis.labels]
    return names


def _joined(name: str, axis: Axis, label: str | int) -> str:
    part = f"{axis.name[:1].upper()}{label}" if isinstance(label, int) or str(label).isdigit() else str(label)
    return f"{name}{part}" if axis.name == "head" else f"{name} {part}".strip()
