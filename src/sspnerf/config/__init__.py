"""Every setting, as frozen dataclasses; presets; TOML in and out. Loads no heavy library.

Precedence, always the same: defaults < preset < --config file.toml < flags. The resolved result is
written to run/config.toml and is the only thing that a resumed run uses.
"""

from sspnerf.config.clips import SPEECH_FEATURES, PrepareConfig, SynthConfig
from sspnerf.config.parts import (
    BandConfig,
    DeformationConfig,
    FieldConfig,
    LossConfig,
    OptimiserConfig,
    PerceptronConfig,
    SpeechConfig,
    TwoFieldConfig,
    VolumeConfig,
)
from sspnerf.config.presets import PRESETS
from sspnerf.config.toml import from_toml, read_settings, to_toml
from sspnerf.config.training import TrainConfig

__all__ = [
    "PRESETS",
    "SPEECH_FEATURES",
    "BandConfig",
    "DeformationConfig",
    "FieldConfig",
    "LossConfig",
    "OptimiserConfig",
    "PerceptronConfig",
    "PrepareConfig",
    "SpeechConfig",
    "SynthConfig",
    "TrainConfig",
    "TwoFieldConfig",
    "VolumeConfig",
    "from_toml",
    "read_settings",
    "to_toml",
]
