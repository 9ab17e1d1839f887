"""The figures of alignment: answers after exchanges, side effects on text, and what the search fits without meaning."""

from __future__ import annotations

from interp.probing.causal.changed_tokens import place_words
from interp.probing.causal.curves import Curve, curve_plot, interval_note
from interp.probing.causal.effects import Trials
from interp.results import Axis, Plot, Values, range_words


def alignment_plots(trials: Trials, values: dict[str, Values], rank: int, n_random: int, n_on_text: int) -> list[Plot]:
    """Accuracy by layer of every subspace beside random ones, side effects likewise, and accuracy on training pairs."""
    prepared = trials.prepared
    task, group_is = prepared.data.name.replace("_", " "), prepared.data.group_is
    layer = Axis("layer", prepared.layers)
    dimensions = f"{rank} dimension{'s' * (rank > 1)}"
    bands = interval_note(len(layer), int(trials.groups.max()) + 1, group_is)
    plots = [
        curve_plot(
            values,
            "curves: accuracy of exchanges",
            _curves(values, "accuracy"),
            layer,
            "share",
            title=f"{task}: exchanges at {prepared.position!r} that bring the other prompt's answer",
            caption=(
                f"Share of {len(trials.labels)} pairs of held-out prompts of different classes in which the model then "
                f"prefers the class of the prompt that a subspace ({dimensions} of {prepared.question.site}) came "
                f"from; changed is {place_words(trials.changed)}; {bands}; random subspaces: {range_words(n_random)}."
            ),
            caveat=(
                "The search learns from answers, so a subspace it finds can steer them without being what the model "
                "itself uses. Where it is shown to do better than the whole state (see the notes) it does just that: "
                "it joins a direction that tells the class with another that moves answers (Makelov et al. 2023)."
            ),
            options={
                "y_range": [-0.03, 1.03],
                "references": {"nothing exchanged": float(values["unchanged_accuracy"].data)},
            },
        ),
        curve_plot(
            values,
            "curves: side effects of exchanges",
            _curves(values, "text_kl"),
            layer,
            "nats",
            uneven="curve",
            title=f"{task}: side effects of the same exchanges on unrelated text",
            caption=(
                f"KL divergence of the next-token prediction from the unchanged one, when the same subspaces are "
                f"exchanged between {len(trials.text.places)} tokens of {trials.text_name}; random subspaces: "
                f"{range_words(n_on_text)}."
            ),
        ),
    ]
    if len(values["fitted_accuracy"].axis("answers")) > 1:
        plots.append(
            Plot(
                "lines",
                "fitted_accuracy",
                x="layer",
                series="answers",
                title=f"{task}: what the search fits on its training pairs",
                caption=(
                    "Share of the training pairs whose exchange gives the answer that was trained for: the source's "
                    "class, or an arbitrary class drawn for each source."
                ),
                options={"y_range": [-0.03, 1.03], "y_label": "share"},
            )
        )
    return plots


def _curves(values: dict[str, Values], what: str) -> list[Curve]:
    found = [Curve.of(str(name), values, what, subspace=name) for name in values[what].axes[0].labels]
    for control in values[f"random_{what}"].axes[0].labels:
        draws = values[f"random_{what}"].sel(control=control).data
        found.append(Curve.of_draws(f"random, {control}", draws))
    return found
