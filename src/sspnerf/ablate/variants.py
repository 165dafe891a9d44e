"""The variants of an ablation: one table, from name to change of the settings."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from sspnerf.config import PRESETS, TrainConfig
from sspnerf.errors import UsageError

Change = Callable[[TrainConfig], TrainConfig]

BASELINE = "full"
"""The variant that all others are compared with: nothing is taken away."""
ADNERF = "adnerf"
# What AD-NeRF's rates end at: a tenth per 250,000 steps, 400,000 steps in each stage.
ADNERF_FINAL_SHARE = round(0.1**1.6, 4)


def _adnerf(base: TrainConfig) -> TrainConfig:
    """Put AD-NeRF in the method's place; the budget stays, and its rates fall within it."""
    if ADNERF not in PRESETS:
        raise UsageError(
            f"variant {ADNERF} needs the preset {ADNERF}, which this version does not have",
            "leave it out of --variants",
        )
    preset = PRESETS[ADNERF]
    return replace(
        preset,
        optimiser=replace(preset.optimiser, decay_steps=None, final_share=ADNERF_FINAL_SHARE),
        steps=base.steps,
        minutes=base.minutes,
        speech_feature=base.speech_feature,
        checkpoint_minutes=base.checkpoint_minutes,
        preview_minutes=base.preview_minutes,
    )


VARIANTS: Mapping[str, Change] = MappingProxyType(
    {
        BASELINE: lambda base: base,
        "no-parsing": lambda base: replace(base, parsing=False),
        "uniform-sampling": lambda base: replace(base, sampling="uniform"),
        "no-torso-deformation": lambda base: replace(base, torso_deformation=False),
        "no-rough-mesh": lambda base: replace(base, rough_mesh=False),
        ADNERF: _adnerf,
    }
)


def default_variants(base: TrainConfig) -> tuple[str, ...]:
    """Return all variants; AD-NeRF only by the clock, as its steps cost many times as much."""
    return tuple(name for name in VARIANTS if name != ADNERF or base.minutes is not None)


def variant_settings(name: str, base: TrainConfig, *, seed: int) -> TrainConfig:
    """Return the settings of one run.

    Args:
        name: A key of `VARIANTS`.
        base: Settings of the full method.
        seed: Seed of every random choice.

    Raises:
        UsageError: If the name is unknown (the nearest known one is named), or the variant does not
            differ from `base`, or does not go with it.
    """
    if name not in VARIANTS:
        near = difflib.get_close_matches(name, VARIANTS, n=1, cutoff=0.0)
        raise UsageError(
            f"unknown variant {name}", f"did you mean {near[0]}? known: {', '.join(VARIANTS)}"
        )
    try:
        changed = VARIANTS[name](base)
        seeded = replace(changed, seed=seed)
    except ValueError as error:
        raise UsageError(f"variant {name}: {error}") from error
    if name != BASELINE and changed == base:
        raise UsageError(
            f"variant {name} changes nothing: the base settings are without that part already",
            "leave it out of --variants, or choose other base settings",
        )
    return seeded
