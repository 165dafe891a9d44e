"""Resumable state in one file: tensors, and the rest as JSON in its header. Nothing is pickled."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sspnerf.errors import PortraitError

CHECKPOINT = Path("checkpoints") / "last.safetensors"


class Checkpoint(NamedTuple):
    """A moment of training."""

    step: int
    seconds: float
    """Time spent training so far."""
    tensors: dict[str, Tensor]
    plain: dict[str, Any]


def save_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    """Write the run's checkpoint, whole or not at all; the one before it is replaced."""
    target = run / CHECKPOINT
    target.parent.mkdir(parents=True, exist_ok=True)
    header = {"step": checkpoint.step, "seconds": checkpoint.seconds, "plain": checkpoint.plain}
    partial = target.with_name(f".{target.name}.partial")
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, partial, metadata={"sspnerf": json.dumps(header)})
    partial.replace(target)


def load_checkpoint(run: Path) -> Checkpoint:
    """Read the run's checkpoint.

    Raises:
        PortraitError: If there is none, or it is damaged.
    """
    source = run / CHECKPOINT
    if not source.is_file():
        raise PortraitError(f"{run} has no checkpoint to resume from", "train without --resume")
    try:
        with safe_open(source, framework="pt") as file:
            header = json.loads(file.metadata()["sspnerf"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Checkpoint(header["step"], header["seconds"], tensors, header["plain"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise PortraitError(f"{source} is damaged: {error}", "train again") from error
