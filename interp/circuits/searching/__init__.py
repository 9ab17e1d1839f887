"""Ways to find a circuit, one a file; `interp.circuits.search` names them in one table.

A way is a module with `find(model, task, graph, *, batch_size, memory_budget, ...)`, whose other arguments are its
options. `nested_masks` holds what ACDC and the hierarchical search have in common.
"""
