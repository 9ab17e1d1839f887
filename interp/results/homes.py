"""Which module holds the class of each kind of result, so that a stored result comes back as what it was.

The table is fixed: a file only chooses among these modules, it never names what is imported. A test holds the table
against the classes. Kinds of other people's packages are known once those are imported.
"""

from __future__ import annotations

import contextlib
import importlib

HOMES = {
    "circuit_edges": "interp.circuits.circuit_graphs",
    "edge_scores": "interp.circuits.edge_scores",
    "circuit_report": "interp.circuits.evaluation.circuit_report",
    "ground_truth_table": "interp.circuits.ground_truth",
    "head_completeness": "interp.circuits.head_level.completeness",
    "head_faithfulness": "interp.circuits.head_level.faithfulness",
    "head_knock_outs": "interp.circuits.head_level.knock_outs",
    "head_minimality": "interp.circuits.head_level.minimality",
    "node_scores": "interp.circuits.node_scores",
    "attention_patterns": "interp.heads.attention",
    "composition_scores": "interp.heads.composition",
    "copying_scores": "interp.heads.copying",
    "name_copying": "interp.heads.copying",
    "eigenvalue_scores": "interp.heads.eigenvalues",
    "in_context_score": "interp.heads.in_context",
    "knock_out": "interp.heads.knocking_out",
    "composition_graph": "interp.heads.matrices.composition_graphs",
    "hinton_diagram": "interp.heads.matrices.diagrams",
    "weights_in_context": "interp.heads.matrices.in_use",
    "singular_directions": "interp.heads.matrices.singular",
    "spectra": "interp.heads.matrices.spectra",
    "virtual_weights": "interp.heads.matrices.virtual",
    "repeated_loss": "interp.heads.repetition",
    "head_scores": "interp.heads.stripes",
    "attribution": "interp.lens.attribution",
    "logit_lens": "interp.lens.layerwise",
    "look": "interp.lens.looking",
    "patchscope_precision": "interp.lens.patchscope_scores",
    "patchscope": "interp.lens.patchscopes",
    "trajectory": "interp.lens.trajectories",
    "causal_basis": "interp.lens.tuned_causes",
    "tuned_lens_curve": "interp.lens.tuned_curves",
    "tuned_lens_evaluation": "interp.lens.tuned_evaluation",
    "tuned_lens": "interp.lens.tuned_reading",
    "estimate_check": "interp.patching.estimate_checks",
    "node_attribution": "interp.patching.node_attributions",
    "patching": "interp.patching.outcome",
    "paths": "interp.patching.paths",
    "alignment": "interp.probing.causal.alignment",
    "amnesic": "interp.probing.causal.amnesia",
    "erasure": "interp.probing.causal.erasing",
    "steering_along": "interp.probing.causal.steering",
    "probe_part": "interp.probing.parts",
    "probe": "interp.probing.probe_result",
    "training_curves": "interp.reproduce.examining",
    "induction_composition": "interp.reproduce.induction_composition",
    "induction_copying": "interp.reproduce.induction_copying",
    "induction_knock_outs": "interp.reproduce.induction_knock_outs",
    "context_gained": "interp.reproduce.induction_texts",
    "role_attention": "interp.reproduce.ioi_attention",
    "backup_heads": "interp.reproduce.ioi_backups",
    "effects_by_order": "interp.reproduce.ioi_orders",
    "head_roles": "interp.reproduce.ioi_role_table",
    "phase_change": "interp.reproduce.phase_change_told",
    "published_comparison": "interp.reproduce.published_ioi",
    "text_knock_out": "interp.reproduce.text_knock_outs",
    "similarity_map": "interp.similarity.similarity_map",
    "superposition_absolute_values": "interp.superposition.computing",
    "superposition_correlated_features": "interp.superposition.correlations",
    "superposition_privileged_basis": "interp.superposition.neurons",
    "superposition_phase_diagram": "interp.superposition.phases",
    "superposition_geometry": "interp.superposition.plateaus",
    "superposition_shapes": "interp.superposition.shapes",
    "superposition_toy_models": "interp.superposition.toy_models",
    "behaviour": "interp.tasks.behaving",
    "dictionary_evaluation": "saes.evals.evaluating",
    "synthetic_evaluation": "saes.evals.synthetic_benchmark",
    "dictionary_training_curves": "saes.training.curves",
}


def import_home(kind: str) -> None:
    """Import the module of a kind, where the house has one and it is installed."""
    if kind in HOMES:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(HOMES[kind])
