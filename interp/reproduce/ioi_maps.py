"""Where the information about the names is, and which heads bring it back: patching a prompt with other names."""

from __future__ import annotations

from interp import patching
from interp.patching import PatchingResult
from interp.reproduce.asking import joined
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_evidence import Measured
from interp.reproduce.ioi_roles import MIN_DIRECT_SHARE
from interp.reproduce.ioi_words import largest, listed, names_of, percent, show, standing_out, told
from interp.tasks import PromptPairs

EFFECT = ("effect", "low", "high")
CAVEAT = "One activation at a time: parts that stand in for each other go unseen."


def maps(experiment: Experiment, task: PromptPairs) -> None:
    """Denoising maps of the stream at the named tokens and of every head."""
    model, report = experiment.model, experiment.report
    stream = experiment.step("map-stream", lambda: patching.sweep(model, task, "resid_pre", ("layer", "role")))
    by_head = experiment.step("map-heads", lambda: patching.sweep(model, task, "z", ("layer", "head")))
    arrives = _arrives(stream)
    report.section(
        "IOI: where the information travels",
        f"{arrives[0].upper()}{arrives[1:]}. {head_words(by_head)}\n\n"
        f"Denoising: {len(task)} corrupt prompts, into which one activation of the clean run is put at a time; putting "
        f"in all of them is worth {stream.difference:.2f} logits. In the early layers, patching the stream at a name "
        "simply puts the clean name into the prompt. What restores the difference later, at S2 or at the end, is "
        "information that heads have moved there. The stream is patched at the named tokens; a head's output at all "
        "tokens at once.",
    )
    words, n = f"{stream_words(stream)} Patched: the stream entering each layer.", len(task)
    show(report, stream, [words], n, title="Putting the residual stream back, token by token", caveat=CAVEAT)
    show(report, by_head, [_map(by_head)], n, title="Putting the output of one head back", caveat=CAVEAT)
    _number_patches(experiment, by_head, len(task))


def stream_words(stream: PatchingResult) -> str:
    """At which layers each named token matters, and from which on the end holds the answer."""
    effect, whole = stream.values["effect"], stream.difference
    if not whole > 0:
        return f"{_arrives(stream)}.".capitalize()
    words = []
    for role in effect.axis("role").labels:
        line, low, high = (stream.values[name].sel(role=role).data for name in EFFECT)
        matters = (((low > 0) | (high < 0)) & (line.abs() >= MIN_DIRECT_SHARE * whole)).nonzero()
        if role != "end" and len(matters):
            best = int(line.abs().argmax())
            size = told(stream.values, EFFECT, signed=True, role=role, layer=best)
            other = int((-line.sign()[best] * line).argmax())
            turn = ""
            if other in matters and float(line[other] * line[best]) < 0:
                turn = f", the other way at layer {other}: "
                turn += told(stream.values, EFFECT, signed=True, role=role, layer=other)
            words.append(f"{role} up to layer {int(matters[-1])} (most at layer {best}: {size}{turn})")
    names = f"Patching the stream matters at {joined(words)}" if words else "Patching the stream matters at no name"
    return f"{names}; {_arrives(stream)}."


def _arrives(stream: PatchingResult) -> str:
    """From which layer on the end of the prompt holds half of the difference."""
    end, whole = stream.values["effect"].sel(role="end").data, stream.difference
    if not whole > 0:
        return f"clean and corrupt prompts differ by {whole:.2f} logits, so there is nothing to restore"
    short = (end < whole / 2).nonzero()
    first = int(short[-1]) + 1 if len(short) else 0
    if first >= len(end):
        return f"at no layer does the end of the prompt hold half of the {whole:.2f} logits"
    size = told(stream.values, EFFECT, signed=True, role="end", layer=first)
    return f"the end of the prompt holds half of the {whole:.2f} logits or more from layer {first} on ({size})"


def _map(by_head: PatchingResult) -> str:
    """Which heads stand out on the map, by name."""
    whole = by_head.difference
    up, down = standing_out(Measured.of(by_head.values, EFFECT, 0, whole=whole), MIN_DIRECT_SHARE * abs(whole))
    return (
        f"Putting one head's output back restores {percent(MIN_DIRECT_SHARE)} of the {whole:.2f} logits or more for "
        f"{names_of(up) or 'no head'}, and takes as much away for {names_of(down) or 'no head'}."
    )


def head_words(by_head: PatchingResult) -> str:
    """The heads that restore and that lower the difference most."""
    whole = by_head.difference
    seen = Measured.of(by_head.values, EFFECT, 0, whole=whole)
    up, down = standing_out(seen, MIN_DIRECT_SHARE * abs(whole))
    bound = f"at least {percent(MIN_DIRECT_SHARE)} of the {whole:.2f} logits".replace("-", "\N{MINUS SIGN}")
    if not up and not down:
        head = largest(seen, +1)
        return (
            f"No single head restores or takes {bound} with an interval that excludes 0; the largest effect is that of "
            f"{listed([head], seen)}."
        )
    told_up = f"{len(up)} restore {bound}" + (f", above all {listed(up[:3], seen)}" if up else "")
    told_down = f"{len(down)} take as much away" + (f", above all {listed(down[:2], seen)}" if down else "")
    return f"Of {seen.mean.numel()} heads patched one at a time {told_up}; {told_down}."


def _number_patches(experiment: Experiment, by_head: PatchingResult, n: int) -> None:
    for row in by_head.top(3, by="signed").itertuples():
        at = by_head.sel(layer=int(row.layer), head=int(row.head)).values
        experiment.number(f"patching head {row.layer}.{row.head}", at["effect"], at["low"], at["high"], n)
