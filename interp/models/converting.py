"""Turning a quantised GGUF file into an ordinary model directory, once: safetensors, configuration and tokenizer.

GGUF models as transformers loads them take 20 s each time and refuse to be saved (the configuration keeps its
`quantization_config`), so the plain class is built anew, given the dequantised weights, and saved.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from pathlib import Path

import torch
from safetensors import SafetensorError

from interp.models.quiet import quiet_transformers


def convert_gguf(gguf: Path, directory: Path) -> None:
    """Write the model in `gguf` into `directory` as float32. Weights are dequantised exactly, nothing is rounded.

    Raises OSError when the disk refuses.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # The bar of the dequantisation knows no switch; it writes to wherever stderr is when it begins.
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
        quantised = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True
        )
        # Where the file lay does not belong into the model, and the names would differ from machine to machine.
        forgotten = ("quantization_config", "_name_or_path", "_model_name_or_path")
        settings = {key: value for key, value in quantised.config.to_dict().items() if key not in forgotten}
        with torch.device("meta"):
            plain = type(quantised)(type(quantised.config)(**settings))
        plain.load_state_dict(quantised.state_dict(), assign=True)
        plain.tie_weights()
        try:
            plain.save_pretrained(directory)
        except SafetensorError as error:
            raise _as_disk_error(error) from error
        tokenizer.save_pretrained(directory)
    for file in directory.iterdir():  # safetensors leaves its files readable by their owner alone
        os.chmod(file, 0o644)


def _as_disk_error(error: SafetensorError) -> OSError:
    """The disk's refusal that safetensors wraps in an exception of its own."""
    numbers = (number for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) if f"os error {number}" in str(error))
    number = next(numbers, errno.EIO)
    return OSError(number, os.strerror(number) if number != errno.EIO else str(error))
