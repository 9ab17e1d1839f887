"""Scores for every edge of a graph, one method a file.

A method is a module with `scores(model, task, graph, settings)`, a generator of `Scored`: the scores of a batch of
prompts after the other. `interp.circuits.edge_scores` names the methods in one table and averages what they give.
"""
