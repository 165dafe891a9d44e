"""One step of learning a portrait, and the portrait that results.

Knows about faces and the optimiser; the loop around it (`trainer`) knows about time and files.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sspnerf.config import TrainConfig, to_toml
from sspnerf.data.dataset import ClipDataset, RayBatch
from sspnerf.data.pixel_sampling import PERSON_THRESHOLD, PixelSampler
from sspnerf.fields.conditioning import frame_windows, neighbour_frames
from sspnerf.geometry.cameras import pixel_centers
from sspnerf.geometry.face_mesh import rest_surface
from sspnerf.geometry.rays import cast_rays
from sspnerf.geometry.rotations import rigid_transform
from sspnerf.render.person_map import MAP_NODES, mark_person, widen_map
from sspnerf.render.portrait import Portrait, PortraitInfo, build_driven
from sspnerf.render.volume import RenderedRays, render_rays
from sspnerf.train.lip_teacher import LipTeacher
from sspnerf.train.losses import mask_loss, photometric_loss, semantic_loss

# Speech is heard louder and softer than it was (natural log of power; 0.5 is about 2 dB) and a
# little noisy, so that the portrait listens to what is said and not to how it was recorded.
GAIN_NOISE = 0.3
FEATURE_NOISE = 0.05
# Enough training frames to know where the person can be.
MAP_FRAMES = 150


class Speech(NamedTuple):
    """The features that drive training."""

    features: NDArray[np.float32]
    """Shape (feature_frames, feature_dim)."""
    rate_hz: float
    """Features per second."""
    level_db: float
    """Active level of the recording, dBFS."""


class StepReport(NamedTuple):
    """What one step measured."""

    loss: float
    photometric: float
    semantic: float
    psnr: float
    """Of this step's rays, dB: not of whole pictures."""


class PortraitLearner:
    """Holds everything that learning changes."""

    def __init__(self, config: TrainConfig, dataset: ClipDataset, speech: Speech) -> None:
        """Build untrained networks for a clip.

        Args:
            config: Settings; `field.extent` is set.
            dataset: The clip.
            speech: What drives it.
        """
        self.config, self.dataset, self.speech = config, dataset, speech
        clip = dataset.clip
        self.generator = torch.Generator().manual_seed(config.seed)
        self.random = np.random.default_rng(config.seed)
        self.sampler = PixelSampler(
            dynamic=config.sampling == "dynamic", uniform_share=config.uniform_share
        )
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.driven = build_driven(
                config, feature_dim=speech.features.shape[1], rate_hz=speech.rate_hz
            )
        self.poses = torch.from_numpy(np.array(clip.poses))
        self.torso_poses = torch.from_numpy(np.array(clip.torso_poses))
        self.blendshapes = torch.from_numpy(np.array(clip.blendshapes))
        self._place()
        self.correction = nn.Parameter(torch.zeros(len(dataset.training), 6))
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.teacher = LipTeacher(
                self.blendshapes, dataset.usable, speech_dim=config.field.speech_dim
            )
        self.optimiser = self._build_optimiser()

    def _place(self) -> None:
        mesh, training = self.dataset.clip.mesh, len(self.dataset.training)
        surface = rest_surface(mesh, extent=self.driven.field.extent)
        self.driven.place(torch.from_numpy(surface), torch.from_numpy(mesh.vertices))
        heard = round(training / self.dataset.clip.manifest.frame_rate_hz * self.speech.rate_hz)
        features = torch.from_numpy(np.array(self.speech.features[: max(1, heard)]))
        self.driven.speech_encoder.set_statistics(features)
        self.driven.upper_face_encoder.set_statistics(self.blendshapes[self.dataset.usable])

    def _build_optimiser(self) -> torch.optim.Adam:
        rates = self.config.optimiser
        grid = [self.driven.field.table]
        networks = [p for p in self.driven.parameters() if p is not self.driven.field.table]
        networks += self.teacher.parameters()
        groups = [
            {"params": grid, "lr": rates.grid_rate},
            {"params": networks, "lr": rates.network_rate},
            {"params": [self.correction], "lr": rates.pose_rate},
        ]
        for group in groups:
            group["first_rate"] = group["lr"]
        # Grids see tiny, rare gradients: the usual epsilon would drown them.
        return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15, fused=True)

    def band_scale(self, progress: float) -> float:
        """Return the band's width at a moment of training: it narrows during the first half."""
        narrowed = self.config.band.narrow_to
        return 1 - (1 - narrowed) * min(1.0, 2 * progress)

    def corrected_poses(self, frame_index: NDArray[np.int64]) -> Tensor:
        """Return camera_to_world of training frames with the learned correction.

        The corrections' mean is taken out: it would move the whole portrait against the tracked
        poses, with which it is rendered.
        """
        poses = self.poses[frame_index]
        if not self.config.pose_correction:
            return poses
        correction = self.correction[frame_index] - self.correction.mean(dim=0)
        return rigid_transform(correction) @ poses

    def hear(self, frame_index: NDArray[np.int64], *, augment: bool) -> Tensor:
        """Encode what is heard around frames; neighbours share their speech windows.

        Args:
            frame_index: Which frames. Shape (frames,).
            augment: As if recorded a little differently each time.

        Returns:
            The speech part of the condition. Shape (frames, speech_dim).
        """
        neighbours = neighbour_frames(frame_index)
        needed, place = np.unique(neighbours, return_inverse=True)
        windows = frame_windows(
            self.speech.features,
            needed,
            rate_hz=self.speech.rate_hz,
            frame_rate_hz=self.dataset.clip.manifest.frame_rate_hz,
        )
        if augment:
            gain = GAIN_NOISE * torch.randn(1, generator=self.generator)
            noise = FEATURE_NOISE * torch.randn(windows.shape, generator=self.generator)
            windows = windows + gain + noise
        encoder = self.driven.speech_encoder
        return encoder.attend(
            encoder.encode(windows)[torch.from_numpy(place).view(neighbours.shape)]
        )

    def step(self, progress: float) -> StepReport:
        """Learn from one batch of rays.

        Args:
            progress: How much of the training is done, [0, 1]; drives the schedules.
        """
        config = self.config
        lesson = self.teacher.draw(self.random)
        index = self.dataset.choose(lesson, frames=config.frames_per_step, generator=self.random)
        batch = self.dataset.draw(
            self.sampler, index, rays=config.rays_per_step, generator=self.random
        )
        heard = np.union1d(lesson, index)
        speech = self.hear(heard, augment=True)
        rendered = self.render(batch, speech[np.searchsorted(heard, index)], progress)
        photometric = photometric_loss(rendered.color, batch.color)
        semantic = semantic_loss(rendered.logits, batch.labels)
        loss = photometric.mean() + self._penalties(rendered, batch)
        loss = loss + config.loss.lip_weight * self.teacher.loss(speech, heard)
        if config.parsing:
            loss = loss + config.loss.semantic_weight * semantic.mean()
        for group in self.optimiser.param_groups:
            group["lr"] = group["first_rate"] * config.optimiser.final_share**progress
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        with torch.no_grad():
            weighted = photometric + config.loss.semantic_weight * config.parsing * semantic
            self.sampler.update(batch.labels.to(torch.uint8).numpy(), weighted.numpy())
            error = float(photometric.mean())
        return StepReport(
            float(loss.detach()), error, float(semantic.detach().mean()), psnr_of(error)
        )

    def render(self, batch: RayBatch, speech: Tensor, progress: float) -> RenderedRays:
        """Render a batch's rays, differentiably.

        Args:
            batch: Which rays.
            speech: What is heard around the batch's frames. Shape (slots, speech_dim).
            progress: How much of the training is done, [0, 1].
        """
        index = batch.frame_index
        poses, torso_poses = self.corrected_poses(index), self.torso_poses[index]
        drive = self.driven.drive(
            speech,
            self.blendshapes[index],
            poses=poses,
            torso_poses=torso_poses,
        )
        rays = cast_rays(
            self.dataset.clip.manifest.intrinsics,
            batch.pixels,
            poses=poses,
            torso_poses=torso_poses,
            slot=batch.slot,
        )
        return render_rays(
            self.driven,
            rays,
            drive,
            background=batch.background,
            band=self.config.band,
            band_scale=self.band_scale(progress),
            generator=self.generator,
        )

    def _penalties(self, rendered: RenderedRays, batch: RayBatch) -> Tensor:
        weights = self.config.loss
        penalty = weights.mask_weight * mask_loss(rendered.accumulation, batch.mask).mean()
        penalty = penalty + weights.deformation_weight * rendered.residual.square().mean()
        return penalty + weights.pose_weight * self.correction[batch.frame_index].square().mean()

    @torch.no_grad()
    def portrait(self, progress: float) -> Portrait:
        """Put together what has been learned so far.

        The portrait is rendered with the tracked poses, which are steady in time; the corrections
        are each frame's own and would shake it.
        """
        clip = self.dataset.clip
        arrays = {
            "background": torch.from_numpy(clip.background),
            "poses": self.poses,
            "torso_poses": self.torso_poses,
            "blendshapes": self.blendshapes,
            "person_map": self._person_map,
        }
        return Portrait(self._info(progress), self.driven, arrays)

    def _info(self, progress: float) -> PortraitInfo:
        manifest = self.dataset.clip.manifest
        return PortraitInfo(
            source=manifest.source,
            licence=manifest.licence,
            frame_rate_hz=manifest.frame_rate_hz,
            width=manifest.width,
            height=manifest.height,
            camera=manifest.camera,
            speech_feature=self.config.speech_feature,
            speech_rate_hz=self.speech.rate_hz,
            feature_dim=self.speech.features.shape[1],
            speech_level_db=self.speech.level_db,
            band_scale=self.band_scale(progress),
            training_frames=len(self.dataset.training),
            config=to_toml(self.config),
        )

    @functools.cached_property
    @torch.no_grad()
    def _person_map(self) -> Tensor:
        """Collect where the training frames' masks show the person.

        Once: tracked poses, rest surface and neck stay as they are while learning.
        """
        clip = self.dataset.clip
        person_map = torch.zeros(MAP_NODES, MAP_NODES, dtype=torch.bool)
        pixels = pixel_centers(clip.manifest.width, clip.manifest.height)
        slot = torch.zeros(len(pixels), dtype=torch.long)
        usable = self.dataset.usable
        for index in usable[:: max(1, len(usable) // MAP_FRAMES)]:
            rays = cast_rays(
                clip.manifest.intrinsics,
                pixels,
                poses=self.poses[index, None],
                torso_poses=self.torso_poses[index, None],
                slot=slot,
            )
            person = torch.from_numpy(np.array(clip.mask[index])).reshape(-1) > PERSON_THRESHOLD
            mark_person(person_map, self.driven, rays, person=person)
        return widen_map(person_map)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that a resumed training needs: tensors, and what JSON can hold."""
        tensors = {f"driven.{name}": t for name, t in self.driven.state_dict().items()}
        tensors |= {f"teacher.{name}": t for name, t in self.teacher.state_dict().items()}
        tensors["correction"] = self.correction.detach()
        tensors["torch_generator"] = self.generator.get_state()
        for place, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{place}.{name}": t for name, t in moments.items()}
        plain = {
            "random": self.random.bit_generator.state,
            "class_losses": self.sampler.losses.tolist(),
            "class_updates": self.sampler.updates.tolist(),
        }
        return tensors, plain

    def load_state(self, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        """Go back to a state that `state` returned.

        Raises:
            RuntimeError, KeyError: If it is of other networks.
        """
        for prefix, module in (("driven.", self.driven), ("teacher.", self.teacher)):
            module.load_state_dict(
                {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            )
        with torch.no_grad():
            self.correction.copy_(tensors["correction"])
        self.generator.set_state(tensors["torch_generator"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimiser."):
                _, place, kind = name.split(".")
                moments.setdefault(int(place), {})[kind] = tensor
        self.optimiser.load_state_dict(
            {"state": moments, "param_groups": self.optimiser.state_dict()["param_groups"]}
        )
        self.random.bit_generator.state = plain["random"]
        self.sampler.losses = np.array(plain["class_losses"])
        self.sampler.updates = np.array(plain["class_updates"])


def psnr_of(mean_squared_error: float) -> float:
    """Return the peak signal-to-noise ratio, dB, of values in [0, 1].

    Example:
        >>> psnr_of(0.01)
        20.0
    """
    return float(-10 * np.log10(max(mean_squared_error, 1e-12)))
