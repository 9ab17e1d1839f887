"""`interp <command> ...`: the table of its commands; how a command is found and run stands in `programs.py`."""

from __future__ import annotations

from collections.abc import Sequence

from interp.cli.programs import Program

COMMANDS: dict[str, tuple[str, str]] = {
    "models": ("interp.cli.models", "list the models that can be loaded, and which are in the cache"),
    "heads": ("interp.cli.heads", "score attention heads: previous token, duplicate token, induction"),
    "heads copying": ("interp.cli.head_copying", "does a head raise the logit of the token it attends to?"),
    "heads names": ("interp.cli.head_names", "which heads would predict, or suppress, a name they attend to?"),
    "heads eigenvalues": ("interp.cli.head_eigenvalues", "do a head's weights copy (OV) and match (QK)?"),
    "heads composition": (
        "interp.cli.head_composition",
        "which heads read, by their weights, what earlier ones write?",
    ),
    "heads in-context": ("interp.cli.head_in_context", "how much better is the model late in a text than early?"),
    "heads knock-out": ("interp.cli.head_knock_out", "what becomes of the loss when heads fall silent?"),
    "lens": ("interp.cli.lens", "read predictions layer by layer, and which component writes them"),
    "tuned-lens": ("interp.cli.tuned_lens", "train translators with which every layer can be read"),
    "tuned-lens evaluate": ("interp.cli.tuned_lens_evaluate", "is it better than the logit lens?"),
    "tuned-lens show": ("interp.cli.tuned_lens_show", "how does a prompt's prediction form?"),
    "tuned-lens export": ("interp.cli.tuned_lens_export", "for the Python package tuned-lens (params.pt)"),
    "patchscopes": ("interp.cli.patchscopes", "ask the model what a hidden state holds"),
    "patch": ("interp.cli.patch", "find where the information is by patching activations between prompts"),
    "paths": ("interp.cli.paths", "find which heads send it to which, or to the logits"),
    "nodes": ("interp.cli.nodes", "estimate the effect of patching every node at once, and check the estimate"),
    "circuit": ("interp.cli.circuit", "find the edges that carry it, and judge them against random circuits"),
    "circuit ground-truth": ("interp.cli.circuit_ground_truth", "how well do methods find known circuits?"),
    "probe": ("interp.cli.probe", "what can be read from each layer? probes with their controls"),
    "probe erase": ("interp.cli.probe_erase", "is it used? answers after erasure (LEACE, INLP)"),
    "probe steer": ("interp.cli.probe_steer", "do answers turn along a probe's direction?"),
    "probe align": ("interp.cli.probe_align", "a subspace whose exchange exchanges the answers (DAS)"),
    "similarity": ("interp.cli.similarity", "how alike are the representations of layers, or of two models?"),
    "weights": ("interp.cli.weights", "which words do weights read and write, and is it chance?"),
    "weights eigen": ("interp.cli.weight_eigen", "along how many directions does a head copy?"),
    "weights virtual": ("interp.cli.weight_virtual", "what a head makes of an earlier one"),
    "weights graph": ("interp.cli.weight_graph", "which heads compose, by their weights?"),
    "weights hinton": ("interp.cli.weight_hinton", "a weight matrix, square by square"),
    "weights in-context": ("interp.cli.weight_in_context", "weights with their actual inputs"),
    "superposition": ("interp.cli.superposition", "train toy models that hold more features than dimensions"),
    "look": ("interp.cli.look", "see attention, lens and attribution of one prompt at once"),
    "reproduce": ("interp.cli.reproduce", "run a published experiment and write its report"),
    "report": ("interp.cli.report", "draw the results of a run, or of any folder, as an HTML page"),
    "runs": ("interp.cli.runs", "list, show and compare runs"),
}
"""Name of each command, of one word or two: its module, and what it does in one line."""
FIRST = {"heads": "scores", "circuit": "find", "tuned-lens": "train", "weights": "svd", "probe": "fit"}
"""Commands with further ones under them: another name of the command itself."""

PROGRAM = Program(
    "interp",
    "Questions you ask a language model. Every command prints a short table and the path of what it wrote.",
    COMMANDS,
    FIRST,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2 for a mistake of the user, 130 after Ctrl-C."""
    return PROGRAM.main(argv)


if __name__ == "__main__":
    raise SystemExit(main())
