"""Is a circuit of heads what the model does: faithfulness, completeness, minimality, and knock-outs (one a file)."""
