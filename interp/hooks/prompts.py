"""Token tensors that remember where their prompts end and what stands where.

`task.clean` is an ordinary integer tensor to PyTorch, and at the same time knows the length of every prompt, its
named positions ("IO", "end", ...) and its group. Functions that receive only the tokens (`capture(model,
task.clean, ...)`) can then leave out the pads and resolve a position by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor


class PromptTokens(torch.Tensor):
    """Token ids [batch, pos], right-padded, with the prompts' lengths, positions by role, and groups.

    Any PyTorch operation on it gives a plain tensor: a slice of the tokens no longer knows which prompts it holds.
    """

    lengths: Tensor
    positions: dict[str, Tensor]
    groups: tuple[str, ...]

    # Results of operations are plain tensors; see the class docstring.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def rows(self, index: slice) -> PromptTokens:
        """Some of the prompts, with what is known of them."""
        return prompt_tokens(
            self.as_subclass(Tensor)[index],
            lengths=self.lengths[index],
            positions={role: at[index] for role, at in self.positions.items()},
            groups=self.groups[index],
        )

    def moved_to(self, device: torch.device | str) -> PromptTokens:
        """The same prompts on a device."""
        plain = self.as_subclass(Tensor)
        if plain.device == torch.device(device):
            return self
        return prompt_tokens(plain.to(device), lengths=self.lengths, positions=self.positions, groups=self.groups)


def prompt_tokens(
    tokens: Int[Tensor, "batch pos"],
    *,
    lengths: Int[Tensor, " batch"] | None = None,
    positions: Mapping[str, Int[Tensor, " batch"]] | None = None,
    groups: Sequence[str] | None = None,
) -> PromptTokens:
    """Attach lengths, named positions and groups to right-padded tokens [batch, pos].

    lengths: real tokens a row (default: all of them); positions: name -> index into the row; groups: one label a row
    (default: one group). Raises ValueError when a length, a position or the number of groups does not fit the tensor.
    """
    batch, n_pos = tokens.shape
    if lengths is None:
        lengths = torch.full((batch,), n_pos, device=tokens.device)
    if groups is None:
        groups = ("all",) * batch
    if len(groups) != batch:
        raise ValueError(f"{len(groups)} groups were given for {batch} prompts; give one label a prompt")
    if lengths.shape != (batch,) or bool((lengths < 1).any()) or bool((lengths > n_pos).any()):
        raise ValueError(f"lengths must be {batch} numbers from 1 to {n_pos}, the width of the tokens")
    for role, index in (positions or {}).items():
        if index.shape != (batch,) or bool((index < 0).any()) or bool((index >= lengths).any()):
            raise ValueError(f"position {role!r} must be one index a prompt, inside the prompt's length")
    # A fresh storage, so that nobody who edits their own tensor changes the prompts.
    made = tokens.detach().clone().as_subclass(PromptTokens)
    made.lengths = lengths.to(tokens.device)
    made.positions = {role: index.to(tokens.device) for role, index in (positions or {}).items()}
    made.groups = tuple(groups)
    return made


def real_tokens(tokens: Tensor) -> Tensor:
    """True where a token is real and not a pad: Bool[batch, pos]; plain tensors have no pads."""
    n_pos = tokens.shape[1]
    if not isinstance(tokens, PromptTokens):
        return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    return torch.arange(n_pos, device=tokens.device)[None, :] < tokens.lengths[:, None]
