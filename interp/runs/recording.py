"""Recording where an answer comes from, at the moment it is made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from interp.results import Provenance
from interp.runs.environments import environment


def provenance(
    *, model: Mapping[str, Any], task: Mapping[str, Any] | None = None, seed: int | None = None, started: datetime
) -> Provenance:
    """The provenance of a result that is finished now.

    `model` is what `interp.models.identity(model)` says, `task` what `task.describe()` says; both are plain data.
    `started` is the time before the work began (a time without a zone is taken as local time).
    """
    return Provenance(
        model=dict(model),
        task=dict(task or {}),
        seed=seed,
        environment=environment(model.get("device")),
        started=timestamp(started),
        ended=timestamp(datetime.now(UTC)),
    )


def timestamp(time: datetime) -> str:
    """ISO 8601 to the millisecond, with the local offset from UTC."""
    return time.astimezone().isoformat(timespec="milliseconds")
