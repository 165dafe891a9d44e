"""Whole sets of settings, by name.

What is the paper's, what is AD-NeRF's and what is our choice: docs/method.md.
"""

from sspnerf.config.parts import (
    DeformationConfig,
    FieldConfig,
    LossConfig,
    OptimiserConfig,
    SpeechConfig,
)
from sspnerf.config.training import TrainConfig

# AD-NeRF's speech networks (AudioNet, AudioAttNet) and optimiser; SSP-NeRF builds on its code.
_ADNERF_SPEECH = SpeechConfig(channels=(32, 32, 64, 64), attention_inputs=32, attention_from=0.5)
_ADNERF_CONDITION = FieldConfig(speech_dim=64, upper_face_dim=0)
_ADNERF_OPTIMISER = OptimiserConfig(
    network_rate=5e-4, attention_scale=5.0, decay_steps=250_000, beta2=0.999, epsilon=1e-8
)
_PICTURES_ONLY = LossConfig(mask_weight=0.0, lip_weight=0.0, deformation_weight=0.0)

PRESETS: dict[str, TrainConfig] = {
    "fast": TrainConfig(),
    "paper": TrainConfig(
        architecture="perceptron",
        steps=400_000,
        rays_per_step=2048,
        frames_per_step=1,
        sampling_period=0,
        uniform_share=0.0,
        background_rays="all",
        pose_correction=False,
        field=_ADNERF_CONDITION,
        speech=_ADNERF_SPEECH,
        deformation=DeformationConfig(form="network"),
        optimiser=_ADNERF_OPTIMISER,
        loss=_PICTURES_ONLY,
    ),
    "adnerf": TrainConfig(
        architecture="head-and-torso",
        steps=800_000,
        rays_per_step=2048,
        frames_per_step=1,
        sampling="face-rectangle",
        background_rays="all",
        parsing=False,
        torso_deformation=False,
        rough_mesh=False,
        pose_correction=False,
        field=_ADNERF_CONDITION,
        speech=_ADNERF_SPEECH,
        optimiser=_ADNERF_OPTIMISER,
        loss=_PICTURES_ONLY,
    ),
}
