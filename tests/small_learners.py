"""Learners of the tiny clip: each architecture at a size where a step takes milliseconds."""

from dataclasses import replace

import numpy as np
import torch

from sspnerf.config import (
    PRESETS,
    DeformationConfig,
    FieldConfig,
    PerceptronConfig,
    TrainConfig,
    TwoFieldConfig,
    VolumeConfig,
)
from sspnerf.data.clip import Clip
from sspnerf.data.dataset import ClipDataset, RayBatch
from sspnerf.render.rendered import RenderedRays
from sspnerf.train.learner import PortraitLearner
from sspnerf.train.snapshot import Speech
from sspnerf.train.trainer import fit_to_clip

FAST = replace(
    PRESETS["fast"],
    rays_per_step=256,
    frames_per_step=4,
    field=FieldConfig(resolutions=(8, 16), features=2, hidden=16),
)
SMALL_PARTS = {
    "perceptron": PerceptronConfig(hidden=16, layers=2, mesh_features=2, mesh_nodes=10),
    "volume": VolumeConfig(coarse=4, fine=4),
    "rays_per_step": 64,
}
NETWORK = DeformationConfig(form="network", hidden=16, layers=3)
PAPER = replace(PRESETS["paper"], **SMALL_PARTS, deformation=NETWORK)
ADNERF = replace(PRESETS["adnerf"], **SMALL_PARTS, two_fields=TwoFieldConfig(torso_rays=64))


def learner_of(clip: Clip, config: TrainConfig = FAST) -> PortraitLearner:
    speech = Speech(np.array(clip.feature("logmel")), 100.0, -20.0)
    return PortraitLearner(fit_to_clip(config, clip), ClipDataset(clip), speech)


def watched(learner: PortraitLearner) -> list[tuple[RayBatch, RenderedRays]]:
    """Remember, from now on, the batch of each step and what was rendered of it."""
    seen: list[tuple[RayBatch, RenderedRays]] = []
    honest = learner.render

    def render(batch, speech, progress):
        rendered = honest(batch, speech, progress)
        seen.append((batch, rendered))
        return rendered

    learner.render = render
    return seen


def awaken(learner: PortraitLearner) -> None:
    """Give the deformation's last layer weights, as learning would."""
    deformation = learner.driven.torso_deformation
    out = deformation.network.out if deformation.form == "network" else deformation.out
    with torch.no_grad():
        out.weight.normal_(generator=torch.Generator().manual_seed(1))
