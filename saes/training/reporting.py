"""The report of a training: its dictionaries on held-out documents, and how it went."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interp.runs import Run
from interp.tasks.english_texts import LICENCE
from saes.activations.reading import nothing_held_out
from saes.activations.texts import HOUSE
from saes.training.config import TrainConfig
from saes.training.curves import TrainingCurves
from saes.training.training_run import TrainingRun


def write_report(
    run: Run, config: TrainConfig, trained: TrainingRun, curves: TrainingCurves, metadata: Mapping[str, Any]
) -> Path:
    """Write report.html of a finished training into its run directory."""
    from interp.viz import Report  # plotly is slow to import, and only wanted at the end

    n = len(trained.dictionaries)
    title = f"{n} sparse dictionaries" if n > 1 else "A sparse dictionary"
    report = Report(f"{title} of {metadata['model_name']}", in_short(config, metadata))
    for site, found in trained.evaluation.items():
        text = f"Measured at `{site}` on documents that no dictionary was trained on. Explained variance is "
        text += "1 − Σ‖x − x̂‖² / Σ‖x − mean(x)‖² over all tokens; the share of the loss recovered is (loss with an "
        text += "ablation − loss with the reconstruction) / (loss with the ablation − loss of the whole model)."
        report.section(f"Held-out documents: {site}", text).add(found)
    if not trained.evaluation:
        text = "The dictionaries were not measured inside the model: "
        report.section("No held-out measures", text + why_not(config) + ".")
    report.section("Training", "Means over the steps between two lines of the log, on the tokens trained on.")
    report.add(curves)
    return report.write(run.path("report.html"))


def why_not(config: TrainConfig) -> str:
    """Why a training has no evaluation."""
    return nothing_held_out(config.texts, config.harvest) if config.evaluate_prompts else "evaluate_prompts is 0"


def in_short(config: TrainConfig, metadata: Mapping[str, Any]) -> str:
    """What was trained on what, in one sentence."""
    epochs = f" ({metadata['n_epochs']:g} epochs)" if "n_epochs" in metadata else ""
    licence = f" The texts: {LICENCE}." if config.texts.source == HOUSE else ""
    return (
        f"Trained at {', '.join(config.sites)} on {metadata['n_tokens']:,} tokens of {config.texts.source}{epochs} in "
        f"prompts of {config.harvest.context_size}, {config.fit.batch_size} tokens a step, "
        f"seed {config.fit.seed}.{licence}"
    )
