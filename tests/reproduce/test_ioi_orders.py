"""Effects apart by the order of the names: plain means, and heads that go by place are named."""

from __future__ import annotations

from dataclasses import replace

import torch

from interp import lens, tasks
from interp.reproduce.ioi_orders import effects_by_order
from interp.results import Axis, Values, bootstrap_interval
from tests.reproduce.test_ioi import reading_model


def test_means_are_of_each_order_alone() -> None:
    model = reading_model(1.0)
    task = tasks.ioi(model, n=12)
    by_head = lens.direct_attribution(model, task, by="head")
    found = effects_by_order(model, task, by_head, [(2, 1), (0, 0)])
    each = by_head.values["per_prompt"].data
    for order in ("BABA", "ABBA"):
        rows = [i for i, group in enumerate(task.groups) if group.startswith(order)]
        low, _ = bootstrap_interval(each[rows][:, 2, 1], 0)
        at = found.sel(order=order, head="2.1").values
        torch.testing.assert_close(at["effect"].data, each[rows][:, 2, 1].mean())
        torch.testing.assert_close(at["low"].data, low)
    assert found.settings["n"] == {"BABA": 6, "ABBA": 6}
    assert found.figure() is not None


def test_a_head_that_copies_the_second_name_is_named() -> None:
    model = reading_model(1.0)
    task = tasks.ioi(model, n=12)
    second = torch.tensor([1.0 if group.startswith("BABA") else -1.0 for group in task.groups])
    helps = second.clamp(min=0) - 0.01 * torch.arange(12)  # nothing in the other order
    opposed = second + 0.01 * torch.arange(12)
    each = torch.stack([opposed, torch.ones(12), torch.zeros(12), helps], dim=1)[:, None]  # [example, 1, head]
    axes = (Axis("example", tuple(range(12))), Axis("layer", (0,)), Axis("head", (0, 1, 2, 3)))
    real = lens.direct_attribution(model, task, by="head")
    given = replace(real, values={"per_prompt": Values(each, axes)}, plots=())
    assert effects_by_order(model, task, given, [(0, 0), (0, 1), (0, 2), (0, 3)]).one_sided == ["0.0", "0.3"]
    only = task[[i for i, group in enumerate(task.groups) if group.startswith("ABBA")]]
    rest = replace(given, values={"per_prompt": Values(each[:6], (Axis("example", tuple(range(6))), *axes[1:]))})
    alone = effects_by_order(model, only, rest, [(0, 0)])
    assert alone.values["effect"].axis("order").labels == ("ABBA",)
    assert not alone.one_sided
