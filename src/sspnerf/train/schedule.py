"""Where training stands, and what that means: stages, the band's width."""

from typing import NamedTuple

from sspnerf.config import TrainConfig


class Moment(NamedTuple):
    """A moment of training."""

    progress: float
    """How much of this stage is done, [0, 1]."""
    learns_torso: bool
    """Architecture `head-and-torso`: whether the head's stage is over."""


def moment_of(config: TrainConfig, progress: float) -> Moment:
    """Find the stage, and how much of it is done.

    Args:
        config: Settings.
        progress: How much of the whole training is done, [0, 1].

    Example:
        >>> moment_of(TrainConfig(), 0.25)
        Moment(progress=0.25, learns_torso=False)
    """
    if config.architecture != "head-and-torso":
        return Moment(progress, learns_torso=False)
    share = config.two_fields.head_share
    if progress < share:
        return Moment(progress / share, learns_torso=False)
    return Moment((progress - share) / (1 - share), learns_torso=True)


def band_scale(config: TrainConfig, progress: float) -> float:
    """Return the band's width: it narrows during the first half.

    Example:
        >>> band_scale(TrainConfig(), 0.0)
        1.0
        >>> band_scale(TrainConfig(), 0.75)
        0.33
    """
    return round(1 - (1 - config.band.narrow_to) * min(1.0, 2 * progress), 6)
