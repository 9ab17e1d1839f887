"""Running an inspection prompt with hidden states written into it: the next token, or a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.capturing import capture
from interp.hooks.intervening import intervene
from interp.hooks.interventions import patch
from interp.hooks.partial import KeysValues, embedding_device, has_suffix_runs, run, run_recording
from interp.hooks.readout import Readout
from interp.models.tokens import to_strings
from interp.tasks.prompting import as_prompts

IDENTITY = "cat -> cat; 1135 -> 1135; hello -> hello; ?"
"""Section 4.1 of the paper."""
DESCRIPTION = (
    "Syria: Country in the Middle East, Leonardo DiCaprio: American actor, Samsung: South Korean multinational major "
    "appliance and consumer electronics corporation, x"
)
"""Section 4.3 of the paper."""
INSPECTIONS = {"identity": IDENTITY, "description": DESCRIPTION}
SEPARATORS = {"identity": "->", "description": ":"}
"""What every example of an inspection prompt has between the placeholder's counterpart and what is said of it."""
PASS_ROWS = 64
"""Hidden states that are run in one batch."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """An inspection prompt: its tokens [pos], and the position that is overwritten."""

    tokens: Int[Tensor, " pos"]
    position: int

    @classmethod
    def of(cls, model: Any, given: str | Tensor | Sequence[int], at: int, prepend_bos: bool) -> Inspection:
        """ "identity", "description", a text or token ids of one's own; `at`: the position, negative from the end.

        Raises InputError for a position that the prompt does not have.
        """
        if isinstance(given, str):
            prompts = as_prompts(model, INSPECTIONS.get(given, given), prepend_bos=prepend_bos)
        else:
            prompts = as_prompts(model, torch.as_tensor(given))
        if len(prompts) != 1:
            raise InputError(f"there is one inspection prompt, not {len(prompts)}")
        n_pos = prompts.shape[1]
        if not -n_pos <= at < n_pos:
            raise InputError(f"the inspection prompt has {n_pos} tokens, and none at position {at}")
        return cls(prompts.as_subclass(Tensor)[0].cpu(), at % n_pos)

    def describe(self, model: Any) -> dict[str, Any]:
        """As it goes into a result's settings."""
        return {"inspection": to_strings(model, self.tokens), "inspection_position": self.position}

    def followed_by(self, tokens: Int[Tensor, " more"]) -> Inspection:
        """The same with more tokens at its end."""
        return Inspection(torch.cat([self.tokens, tokens.to(self.tokens)]), self.position)


def marked_prompt(settings: Mapping[str, Any]) -> str:
    """The inspection prompt of a result's settings as one text, with « » around the token that is overwritten."""
    tokens, position = list(settings["inspection"]), settings["inspection_position"]
    token = tokens[position]
    bare = token.strip() or token
    before, after = token.split(bare, 1)
    tokens[position] = f"{before}«{bare}»{after}"
    # Tokens of a model without a tokenizer are numbers.
    return (" " if all(item.isdigit() for item in settings["inspection"]) else "").join(tokens)


def leading(model: Any, tokens: Int[Tensor, " new"], separator: str) -> Int[Tensor, " first"]:
    """The first of some tokens, as far as they are the separator, spaces around it aside; none where they are not."""
    wanted, read = separator.strip(), ""
    for i, text in enumerate(to_strings(model, tokens)) if wanted else ():
        read = (read + text).strip()
        if read == wanted:
            return tokens[: i + 1]
        if not wanted.startswith(read):
            break
    return tokens[:0]


def source_layers(model: Any, layers: Sequence[int] | int | None) -> list[int]:
    """Layers whose streams are taken or overwritten: 0 ... n_layers - 1, the streams that enter blocks.

    Raises InputError for others.
    """
    n_layers = int(model.cfg.n_layers)
    chosen = list(range(n_layers)) if layers is None else [layers] if isinstance(layers, int) else list(layers)
    wrong = [layer for layer in chosen if not 0 <= layer < n_layers]
    if wrong or not chosen:
        which = f"layer {wrong[0]}" if wrong else "layer left"
        raise InputError(f"there is no {which}; a hidden state enters block 0 to {n_layers - 1}")
    return chosen


class Inspector:
    """Reads next tokens from an inspection prompt, running only what a written state can change.

    Blocks before the layer and positions before the one that is overwritten run once, not for every state.
    """

    def __init__(self, model: Any, inspection: Inspection) -> None:
        self.model = model
        self.inspection = inspection
        tokens = inspection.tokens[None].to(embedding_device(model))
        n_layers = int(model.cfg.n_layers)
        wanted = [sites.resid_pre(layer) for layer in range(n_layers)]
        self._streams = capture(model, tokens, wanted)
        self._past: KeysValues | None = None
        self._first = 0
        if inspection.position > 0 and has_suffix_runs(model):
            nothing = Readout(
                torch.zeros(1, 1, dtype=torch.long, device=tokens.device), torch.zeros_like(tokens[:, :1])
            )
            with torch.no_grad():
                _, recorded = run_recording(model, tokens, nothing)
            self._first = inspection.position
            self._past = recorded.prefix(self._first)

    @property
    def own(self) -> Float[Tensor, " d_model"]:
        """What enters block 0 where states are written: written there, it leaves the prompt as it is."""
        return self._streams[sites.resid_pre(0)][0, self.inspection.position]

    @torch.no_grad()
    def log_probs(self, vectors: Float[Tensor, "state d_model"], layer: int) -> Float[Tensor, "state vocab"]:
        """What follows the prompt, for each of some states written at `layer`. For a few states only."""
        stream = self._streams[sites.resid_pre(layer)]
        x = stream[:, self._first :].repeat(len(vectors), 1, 1)
        x[:, self.inspection.position - self._first] = vectors.to(x)
        last = torch.full((len(vectors), 1), len(self.inspection.tokens) - 1, device=x.device)
        logits = run(self.model, x, layer, past=self._past, readout=Readout(last, None))
        return logits.float().log_softmax(-1)


@torch.no_grad()
def generate_from(
    model: Any, inspection: Inspection, vectors: Float[Tensor, "state d_model"], layers: Sequence[int], n_tokens: int
) -> Int[Tensor, "state new"]:
    """The tokens that the model adds to the prompt, the most probable each time; state i is written at layers[i]."""
    pieces = []
    for start in range(0, len(vectors), PASS_ROWS):
        some, where = vectors[start : start + PASS_ROWS], list(layers[start : start + PASS_ROWS])
        tokens = inspection.tokens.repeat(len(some), 1).to(embedding_device(model))
        writes = [
            patch(
                sites.resid_pre(layer),
                some[:, None],
                positions=inspection.position,
                rows=[i for i, other in enumerate(where) if other == layer],
            )
            for layer in dict.fromkeys(where)
        ]
        with intervene(model, writes):
            out = model.generate(
                tokens,
                max_new_tokens=n_tokens,
                do_sample=False,
                stop_at_eos=False,
                prepend_bos=False,
                return_type="tokens",
                use_past_kv_cache=has_suffix_runs(model),
                verbose=False,
            )
        pieces.append(out[:, tokens.shape[1] :].cpu())
    return torch.cat(pieces)
