"""Adam over all that is learned, its rates over time, and its state in plain tensors."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sspnerf.config import OptimiserConfig
from sspnerf.fields.driven_field import DrivenField


def build_optimiser(
    driven: DrivenField,
    others: Iterable[nn.Parameter],
    corrections: Iterable[nn.Parameter],
    *,
    config: OptimiserConfig,
) -> torch.optim.Adam:
    """Give grids, networks, the speech attention and the pose correction their rates.

    Args:
        driven: The portrait's networks.
        others: Parameters that learn at the networks' rate and are not part of the portrait.
        corrections: Of the training frames' poses.
        config: The rates.
    """
    grids = driven.grids()
    encoder = driven.speech_encoder
    attention = [*encoder.attention_net.parameters(), *encoder.attention_out.parameters()]
    apart = {id(parameter) for parameter in (*grids, *attention)}
    networks = [p for p in driven.parameters() if id(p) not in apart]
    rate = config.network_rate
    groups = [
        {"params": grids, "lr": config.grid_rate},
        {"params": [*networks, *others], "lr": rate},
        {"params": attention, "lr": rate * config.attention_scale},
        {"params": list(corrections), "lr": config.pose_rate},
    ]
    for group in groups:
        group["first_rate"] = group["lr"]
    return torch.optim.Adam(groups, betas=(0.9, config.beta2), eps=config.epsilon, fused=True)


def decay(config: OptimiserConfig, *, progress: float, step: int) -> float:
    """Return the share of the first rates that is left.

    Args:
        config: Decides whether time or steps count.
        progress: How much of the training (of its stage) is done, [0, 1].
        step: Steps done (in this stage).

    Example:
        >>> decay(OptimiserConfig(decay_steps=250_000), progress=0.3, step=250_000)
        0.1
        >>> decay(OptimiserConfig(final_share=0.01), progress=0.5, step=7)
        0.1
    """
    if config.decay_steps is not None:
        return float(0.1 ** (step / config.decay_steps))
    return float(config.final_share**progress)


def set_rates(optimiser: torch.optim.Optimizer, share: float) -> None:
    """Bring all rates to a share of their first values."""
    for group in optimiser.param_groups:
        group["lr"] = group["first_rate"] * share


def moments_to_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what the optimiser remembers, by place and kind."""
    return {
        f"{place}.{kind}": tensor
        for place, moments in optimiser.state_dict()["state"].items()
        for kind, tensor in moments.items()
    }


def load_moments(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Go back to what `moments_to_tensors` returned.

    Raises:
        ValueError: If it is of other parameters.
    """
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        place, kind = name.split(".")
        moments.setdefault(int(place), {})[kind] = tensor
    optimiser.load_state_dict(
        {"state": moments, "param_groups": optimiser.state_dict()["param_groups"]}
    )
