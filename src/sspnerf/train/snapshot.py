"""The portrait as learned so far: networks, and what the clip says about the person."""

import functools
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sspnerf.config import TrainConfig, to_toml
from sspnerf.data.dataset import ClipDataset
from sspnerf.data.manifest import SpeechFeature
from sspnerf.data.pixel_sampling import PERSON_THRESHOLD
from sspnerf.fields.deformation_network import pose_vector
from sspnerf.fields.driven_field import DrivenField
from sspnerf.fields.driven_planes import DrivenPlanes
from sspnerf.geometry.rays import cast_rays
from sspnerf.geometry.rotations import rigid_transform
from sspnerf.render.person_map import MAP_NODES, mark_person, widen_map
from sspnerf.render.portrait import Portrait
from sspnerf.render.portrait_info import PortraitInfo
from sspnerf.render.torso_follower import TorsoFollower
from sspnerf.train.lattice import lattices
from sspnerf.train.pose_bias import predict_corrections
from sspnerf.train.pose_correction import PoseCorrection
from sspnerf.train.schedule import band_scale, moment_of

# Enough training frames to know where the person can be, at about a pixel per node of the map.
MAP_FRAMES = 150
MAP_POINTS_PER_SIDE = 128


class Speech(NamedTuple):
    """The features that drive training."""

    features: NDArray[np.float32]
    """Shape (feature_frames, feature_dim)."""
    rate_hz: float
    """Features per second."""
    level_db: float
    """Active level of the recording, dBFS."""
    told: SpeechFeature | None = None
    """Which network computed the features; None: none did."""


class Tracked(NamedTuple):
    """What the clip says about the person in each frame."""

    poses: Tensor
    """camera_to_world. Shape (frames, 4, 4)."""
    torso_poses: Tensor
    """The same with the torso held still; what the architecture makes of it. (frames, 4, 4)."""
    blendshapes: Tensor
    """Shape (frames, 52)."""


class Snapshots:
    """Puts portraits together; what does not change while learning is made once."""

    def __init__(
        self, config: TrainConfig, dataset: ClipDataset, speech: Speech, *, tracked: Tracked,
        driven: DrivenField, corrections: nn.ModuleDict,
    ) -> None:  # fmt: skip
        """Remember the parts.

        Args:
            config: Settings.
            dataset: The clip.
            speech: What drives it.
            tracked: The person in each frame.
            driven: The networks, placed.
            corrections: `PoseCorrection` of the bones ("head", "torso") whose poses are corrected.
        """
        self.config, self.dataset, self.speech = config, dataset, speech
        self.tracked, self.driven, self.corrections = tracked, driven, corrections

    @torch.no_grad()
    def take(self, progress: float) -> Portrait:
        """Put together what has been learned so far.

        The portrait is rendered with the tracked poses and what can be told of their errors from
        pose and face (`pose_bias`): for held-out frames as for others.

        Args:
            progress: How much of the training is done, [0, 1].
        """
        arrays = {
            "background": torch.from_numpy(self.dataset.clip.background),
            "poses": self._unbiased("head", self.tracked.poses),
            "torso_poses": self._unbiased("torso", self.tracked.torso_poses),
            "blendshapes": self.tracked.blendshapes,
            "person_map": self._person_map,
        }
        for name, tensor in self._torso_follower.tensors().items():
            arrays[f"torso_follower.{name}"] = tensor
        return Portrait(self._info(progress), self.driven, arrays)

    def _unbiased(self, bone: str, poses: Tensor) -> Tensor:
        """Correct the poses of all frames by what their corrections have in common."""
        if bone not in self.corrections:
            return poses
        learned: PoseCorrection = self.corrections[bone]  # type: ignore[assignment]
        cuts = self.dataset.clip.manifest.cuts
        found = predict_corrections(learned.of_all(), self._situation, cuts=cuts)
        return rigid_transform(found) @ poses

    @functools.cached_property
    def _situation(self) -> Tensor:
        """Poses and face of every frame, as tracked; they stay as they are while learning."""
        poses, torso_poses, blendshapes = self.tracked
        return torch.cat((pose_vector(poses), pose_vector(torso_poses), blendshapes), dim=1)

    def _info(self, progress: float) -> PortraitInfo:
        clip, speech = self.dataset.clip, self.speech
        manifest = clip.manifest
        return PortraitInfo(
            source=manifest.source,
            licence=manifest.licence,
            frame_rate_hz=manifest.frame_rate_hz,
            cuts=manifest.cuts,
            width=manifest.width,
            height=manifest.height,
            camera=manifest.camera,
            speech_feature=self.config.speech_feature,
            speech_rate_hz=speech.rate_hz,
            feature_dim=speech.features.shape[1],
            speech_model=speech.told.model if speech.told else "",
            speech_layer=speech.told.layer if speech.told else None,
            speech_weights=speech.told.weights if speech.told else "",
            speech_level_db=speech.level_db,
            mesh_vertices=len(clip.mesh.vertices),
            band_scale=band_scale(self.config, moment_of(self.config, progress).progress),
            training_frames=len(self.dataset.training),
            config=to_toml(self.config),
        )

    @functools.cached_property
    def _person_map(self) -> Tensor:
        """Collect where the training frames' masks show the person.

        Once: tracked poses, rest surface and neck stay as they are while learning.
        """
        if not isinstance(self.driven, DrivenPlanes):
            return torch.ones(MAP_NODES, MAP_NODES, dtype=torch.bool)
        clip = self.dataset.clip
        person_map = torch.zeros(MAP_NODES, MAP_NODES, dtype=torch.bool)
        seeded = np.random.default_rng(self.config.seed)
        for lattice in lattices(
            self.dataset, frames=MAP_FRAMES, points=MAP_POINTS_PER_SIDE, generator=seeded
        ):
            mask = clip.mask[lattice.frame][lattice.rows, lattice.columns].reshape(-1)
            pixels = lattice.pixels[torch.from_numpy(mask > PERSON_THRESHOLD)]
            rays = cast_rays(
                clip.manifest.intrinsics,
                pixels,
                poses=self.tracked.poses[lattice.frame, None],
                torso_poses=self.tracked.torso_poses[lattice.frame, None],
                slot=torch.zeros(len(pixels), dtype=torch.long),
            )
            person = torch.ones(len(pixels), dtype=torch.bool)
            mark_person(person_map, self.driven, rays, person=person)
        return widen_map(person_map)

    @functools.cached_property
    def _torso_follower(self) -> TorsoFollower:
        """Learn how the torso follows the head; once, as tracked poses stay as they are."""
        valid = torch.zeros(len(self.tracked.poses), dtype=torch.bool)
        # Where the torso's pose is a guess there is nothing to be learned about it.
        confidence = self.dataset.clip.torso_confidence
        known = self.dataset.usable[confidence[self.dataset.usable] > 0]
        valid[torch.from_numpy(known if len(known) else self.dataset.usable)] = True
        return TorsoFollower.fit(
            self.tracked.poses,
            self.tracked.torso_poses,
            valid=valid,
            frame_rate_hz=self.dataset.clip.manifest.frame_rate_hz,
            cuts=self.dataset.clip.manifest.cuts,
        )
