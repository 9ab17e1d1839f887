"""Direct logit attribution: how much each part of a model adds to a logit difference by what it writes itself.

What a part does by way of later parts is not in it (patch for that), and the final norm's scale is held at its actual
value, which the parts made together. With this the contributions add up to the logit difference exactly, which is
checked on every prompt. Elhage et al. 2021; Wang et al. 2022, section 3.1 and appendix A.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from torch import Tensor

from interp.errors import unknown
from interp.hooks.head_names import HeadLike
from interp.hooks.selecting import Positions
from interp.lens.attribution_plots import attribution_plots
from interp.lens.directions import has_output_transform
from interp.lens.questions import Question, Tokens, ask
from interp.lens.splitting import Split, by_component, by_head, by_layer, by_source
from interp.lens.writers import written
from interp.models import identity
from interp.models.tokens import to_strings
from interp.results import Axis, Result, Values, mean_with_interval
from interp.runs import provenance
from interp.tasks.prompting import Prompts, described, has_bos, strings_of

KINDS = ("layer", "component", "head", "source")


class Attribution(Result):
    """contribution, low, high: mean over prompts and its 95 % interval, in logits, on the axes of the question:

        by="layer"       [part]           "embed", "0", "1", ..., "bias"
        by="component"   [component]      "embed", "a0", "m0", "a1", ..., "bias"
        by="head"        [layer, head]    and in `rest` [component] what no head writes: embed, MLPs, biases
        by="source"      [head, source]   chosen heads, by the token (or role) they take it from

    per_prompt: the same for every [example]. total, total_per_prompt: the logit difference itself, to which the
    contributions add up (with `rest`; those of chosen heads add up to the heads). error: the largest deviation of a
    prompt's sum, by rounding. There are no low and high for a single prompt.
    """

    kind: ClassVar[str] = "attribution"


def direct_attribution(
    model: Any,
    prompts: Prompts,
    *,
    by: str = "component",
    target: Tokens | None = None,
    distractor: Tokens | None = None,
    position: Positions = None,
    heads: Sequence[HeadLike] | HeadLike | int = 10,
    sources: str | None = None,
    prepend_bos: bool = False,
    batch_size: int | None = None,
) -> Attribution:
    """How much each layer, component, head or source token adds to the logit difference, in logits.

    prompts: a task (its clean prompts, answers, distractors, and the position of its metric), or a text, several texts
    or token ids. target, distractor: tokens as text with its leading space or as ids, or tensors [batch] or [batch, n]
    (sets, padded with -1, of which the mean is taken); default target: the model's most probable token at the
    position; without a distractor, the target's logit relative to the mean over the vocabulary. position: of the
    prediction (default: the last token). heads: for by="source", which heads, or how many of those that contribute
    most. sources: each "position", or summed by the task's "role"s (default: roles where there are some besides "end").
    batch_size: prompts a pass (default: as memory allows).

    A model that soft-caps or scales its logits is attributed before that, and the settings say so. Raises InputError
    for targets of several tokens, heads and positions that do not exist, and models whose parts do not add up to
    their logits.
    """
    started = datetime.now()
    if by not in KINDS:
        raise unknown("way to split an attribution", by, KINDS)
    question = ask(model, prompts, target, distractor, position, prepend_bos)
    found = written(model, question, with_heads=by in ("head", "source"), batch_size=batch_size)
    if by == "source":
        split = by_source(model, question, found, heads, sources, batch_size)
    else:
        split = {"layer": by_layer, "component": by_component, "head": by_head}[by](found)
    capped = has_output_transform(model)
    logits = "before the output transform" if capped else "the model's own"
    values = with_intervals("contribution", split) | _totals(found.total, found.error)
    return Attribution(
        values=values,
        settings={"by": by, "prepend_bos": has_bos(prompts, prepend_bos), "n": len(question.prompts), "logits": logits}
        | question.settings
        | split.settings,
        provenance=provenance(model=identity(model), started=started, **described(prompts)),
        plots=attribution_plots(by, values, capped),
        texts=_texts(model, question, found.answers),
    )


def with_intervals(name: str, split: Split) -> dict[str, Values]:
    """Mean over prompts with its interval, every prompt's values, and what is left beside them."""
    examples = Axis("example", tuple(range(len(split.data))))
    per_prompt = Values(split.data, (examples, *split.axes), "logits")
    values = _mean(per_prompt, name, "")
    values["per_prompt"] = per_prompt
    if split.rest is not None:
        values |= _mean(Values(split.rest, (examples, split.rest_axis), "logits"), "rest", "rest_")
    return values


def _mean(per_prompt: Values, name: str, prefix: str) -> dict[str, Values]:
    if len(per_prompt.data) == 1:
        return {name: Values(per_prompt.data[0], per_prompt.axes[1:], per_prompt.unit)}
    means = mean_with_interval(per_prompt)
    return {name: means["mean"], f"{prefix}low": means["low"], f"{prefix}high": means["high"]}


def _totals(total: Tensor, error: Tensor) -> dict[str, Values]:
    examples = Axis("example", tuple(range(len(total))))
    return {
        "total": Values(total.mean(), (), "logits", "the logit difference, mean over prompts"),
        "total_per_prompt": Values(total, (examples,), "logits"),
        "error": Values(error.abs().max(), (), "logits", "largest deviation of a sum of contributions from its total"),
    }


def _texts(model: Any, question: Question, answers: Tensor) -> dict[str, Any]:
    return {
        "tokens": strings_of(model, question.prompts),
        "target": ["".join(to_strings(model, row[row >= 0][:1])) for row in answers],
    }
