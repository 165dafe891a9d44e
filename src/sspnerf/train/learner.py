"""One step of learning a portrait.

Knows about faces and the optimiser; the loop around it (`trainer`) knows about time and files.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from sspnerf.config import TrainConfig
from sspnerf.data.dataset import ClipDataset, RayBatch
from sspnerf.data.pixel_sampling import PixelSampler
from sspnerf.data.semantics import HEAD_CLASSES, STILL_CLASSES
from sspnerf.errors import TrainingError
from sspnerf.fields.conditioning import frame_windows, neighbour_frames
from sspnerf.fields.driven_planes import DrivenPlanes
from sspnerf.fields.head_and_torso import HeadAndTorso
from sspnerf.fields.torso import Canonical
from sspnerf.geometry.rays import cast_rays
from sspnerf.geometry.rest_surface import rest_surface
from sspnerf.geometry.rotations import rigid_transform
from sspnerf.render.build import build_driven
from sspnerf.render.portrait import Portrait
from sspnerf.render.rendered import Portrayed, RenderedRays
from sspnerf.render.volume import render_rays
from sspnerf.train.lip_teacher import LipTeacher
from sspnerf.train.losses import mask_loss, photometric_loss, semantic_loss, still_loss
from sspnerf.train.optimiser import (
    build_optimiser,
    decay,
    load_moments,
    moments_to_tensors,
    set_rates,
)
from sspnerf.train.pose_correction import PoseCorrection
from sspnerf.train.regions import collect_regions
from sspnerf.train.schedule import Moment, band_scale, moment_of
from sspnerf.train.snapshot import Snapshots, Speech, Tracked

# Speech is heard louder and softer than it was (natural log of power; 0.5 is about 2 dB) and a
# little noisy, so that the portrait listens to what is said and not to how it was recorded.
GAIN_NOISE = 0.3
FEATURE_NOISE = 0.05
# A frame may show nobody; so many draws in a row do not.
EMPTY_DRAWS = 100


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
            config: Settings; `field.extent`, `volume.near` and `volume.far` are set.
            dataset: The clip.
            speech: What drives it.
        """
        self.config, self.dataset, self.speech = config, dataset, speech
        clip = dataset.clip
        self.generator = torch.Generator().manual_seed(config.seed)
        self.random = np.random.default_rng(config.seed)
        self.sampler = self._build_sampler(learns_torso=False)
        self.tracked = self._track()
        self.stage_steps = 0
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.driven = build_driven(
                config,
                feature_dim=speech.features.shape[1],
                rate_hz=speech.rate_hz,
                mesh_vertices=len(clip.mesh.vertices),
            )
            self.teacher = LipTeacher(
                self.tracked.blendshapes, dataset.usable, speech_dim=config.field.speech_dim
            )
        self._place()
        self.corrections = self._build_corrections()
        self.snapshots = Snapshots(
            config, dataset, speech, tracked=self.tracked, driven=self.driven,
            corrections=self.corrections,
        )  # fmt: skip
        lesson = self.teacher.parameters() if config.loss.lip_weight else ()
        self.optimiser = build_optimiser(
            self.driven, lesson, self.corrections.parameters(), config=config.optimiser
        )

    def _build_sampler(self, *, learns_torso: bool) -> PixelSampler:
        config = self.config
        passes = max(1, len(self.dataset.usable) // config.frames_per_step)
        return PixelSampler(
            kind="uniform" if learns_torso else config.sampling,
            unit=config.sampling_unit,
            uniform_share=config.uniform_share,
            period=config.sampling_period or passes,
            background=config.background_rays,
        )

    def _track(self) -> Tracked:
        """Read the person's poses; architectures without bones have no torso of its own."""
        clip = self.dataset.clip
        poses = torch.from_numpy(np.array(clip.poses))
        torso_poses = torch.from_numpy(np.array(clip.torso_poses))
        if self.config.architecture == "head-and-torso":
            # Source: AD-NeRF's torso is seen from the pose of one frame, always.
            torso_poses = poses[clip.manifest.reference_frame].expand_as(poses).clone()
        elif not self.config.torso_deformation or self.config.deformation.form == "network":
            torso_poses = poses.clone()
        return Tracked(poses, torso_poses, torch.from_numpy(np.array(clip.blendshapes)))

    def _build_corrections(self) -> nn.ModuleDict:
        config, manifest = self.config, self.dataset.clip.manifest
        bones = ["head"] if config.pose_correction else []
        has_bones = config.torso_deformation and config.deformation.form != "network"
        if bones and has_bones and config.architecture == "planes":
            bones.append("torso")
        frames, every = len(self.dataset.training), config.correction_every
        return nn.ModuleDict(
            {bone: PoseCorrection(frames, every=every, cuts=manifest.cuts) for bone in bones}
        )

    def _place(self) -> None:
        clip = self.dataset.clip
        reference = clip.manifest.reference_frame
        canonical = Canonical(self.tracked.poses[reference], self._time(reference))
        self.driven.place(torch.from_numpy(clip.mesh.vertices), canonical)
        if isinstance(self.driven, DrivenPlanes):
            self._lay_surface(self.driven)
        training = len(self.dataset.training)
        heard = round(training / clip.manifest.frame_rate_hz * self.speech.rate_hz)
        features = torch.from_numpy(np.array(self.speech.features[: max(1, heard)]))
        self.driven.speech_encoder.set_statistics(features)
        if self.driven.upper_face_encoder is not None:
            usable = self.tracked.blendshapes[self.dataset.usable]
            self.driven.upper_face_encoder.set_statistics(usable)

    def _lay_surface(self, driven: DrivenPlanes) -> None:
        """Give the field the person's rest surface, and what is seen where on it."""
        field = driven.field
        surface = rest_surface(self.dataset.clip.mesh, extent=field.extent)
        field.surface.copy_(torch.from_numpy(surface))
        if self.config.rough_mesh:
            seeded = np.random.default_rng(self.config.seed)
            field.regions.copy_(
                collect_regions(driven, self.dataset, self.tracked, generator=seeded)
            )

    def _time(self, frame: int) -> float:
        """Say when in the clip a frame is, [0, 1]."""
        return frame / max(1, self.dataset.clip.manifest.frames - 1)

    def corrected_poses(
        self, frame_index: NDArray[np.int64]
    ) -> tuple[Float[Tensor, "frames 4 4"], Float[Tensor, "frames 4 4"]]:
        """Return camera_to_world of training frames, and with the torso held still, corrected.

        A torso that goes where the head goes has no pose to be corrected.
        """
        poses, torso = self.tracked.poses[frame_index], self.tracked.torso_poses[frame_index]
        if "head" in self.corrections:
            poses = rigid_transform(self.corrections["head"](frame_index)) @ poses
        if "torso" in self.corrections:
            torso = rigid_transform(self.corrections["torso"](frame_index)) @ torso
        return poses, torso

    def hear(
        self, frame_index: NDArray[np.int64], *, augment: bool
    ) -> Float[Tensor, "frames speech_dim"]:
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

        Raises:
            TrainingError: If no frame shows a person.
        """
        config, moment = self.config, moment_of(self.config, progress)
        self._enter(moment)
        batch, speech, lesson_loss = self._draw(moment)
        rendered = self.render(batch, speech, moment.progress)
        batch = self._as_seen(batch, moment)
        fields = [Portrayed(rendered.color, rendered.logits)]
        fields += [rendered.coarse] if rendered.coarse is not None else []
        photometric = [photometric_loss(field.color, batch.color) for field in fields]
        semantic = [semantic_loss(field.logits, batch.labels) for field in fields]
        weight = config.loss.semantic_weight * config.parsing
        per_ray = torch.stack(photometric).sum(0) + weight * torch.stack(semantic).sum(0)
        loss = per_ray.mean() + self._penalties(rendered, batch) + lesson_loss
        share = decay(config.optimiser, progress=moment.progress, step=self.stage_steps)
        set_rates(self.optimiser, share)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.stage_steps += 1
        self.sampler.update(batch.labels.to(torch.uint8).numpy(), per_ray.detach().numpy())
        error = float(photometric[0].detach().mean())
        return StepReport(
            float(loss.detach()), error, float(semantic[0].detach().mean()), psnr_of(error)
        )

    def _enter(self, moment: Moment) -> None:
        """Switch on what the moment asks for."""
        driven, attention_from = self.driven, self.config.speech.attention_from
        if isinstance(driven, HeadAndTorso) and moment.learns_torso and not driven.learns_torso:
            self._begin_torso()
        if not moment.learns_torso and moment.progress >= attention_from:
            driven.speech_encoder.weighs_neighbours.fill_(True)

    def _begin_torso(self) -> None:
        assert isinstance(self.driven, HeadAndTorso)  # noqa: S101 - asked by the callers
        self.driven.rest_head()
        self.sampler = self._build_sampler(learns_torso=True)
        self.stage_steps = 0

    def _draw(self, moment: Moment) -> tuple[RayBatch, Tensor, Tensor]:
        """Draw rays and hear their frames: batch, speech per slot, loss of the lip teacher."""
        config = self.config
        usable = self.dataset.usable
        lesson = self.teacher.draw(self.random) if config.loss.lip_weight else usable
        rays = config.two_fields.torso_rays if moment.learns_torso else config.rays_per_step
        index, batch = self._draw_rays(lesson, rays)
        if not config.loss.lip_weight:
            return batch, self.hear(index, augment=True), torch.zeros(())
        heard = np.union1d(lesson, index)
        speech = self.hear(heard, augment=True)
        loss = config.loss.lip_weight * self.teacher.loss(speech, heard)
        return batch, speech[np.searchsorted(heard, index)], loss

    def _draw_rays(self, among: NDArray[np.int64], rays: int) -> tuple[NDArray[np.int64], RayBatch]:
        """Draw until some frame shows a person.

        Raises:
            TrainingError: If none does.
        """
        frames = self.config.frames_per_step
        for _ in range(EMPTY_DRAWS):
            index = self.dataset.choose(among, frames=frames, generator=self.random)
            batch = self.dataset.draw(self.sampler, index, rays=rays, generator=self.random)
            if len(batch.slot):
                return index, batch
        raise TrainingError(
            f"{self.dataset.clip.path}: no person in the masks of {EMPTY_DRAWS} draws of frames",
            "look at preview.mp4 and prepare another part of the video",
        )

    def _as_seen(self, batch: RayBatch, moment: Moment) -> RayBatch:
        """Return the truth of this stage: everything, or the head alone over the plate."""
        if self.config.architecture != "head-and-torso" or moment.learns_torso:
            return batch
        is_head = torch.isin(batch.labels, torch.tensor(HEAD_CLASSES))
        color = torch.where(is_head[:, None], batch.color, batch.background)
        return replace(batch, color=color, mask=batch.mask * is_head)

    def render(self, batch: RayBatch, speech: Tensor, progress: float) -> RenderedRays:
        """Render a batch's rays, differentiably.

        Args:
            batch: Which rays.
            speech: What is heard around the batch's frames. Shape (slots, speech_dim).
            progress: How much of the training (of its stage) is done, [0, 1].
        """
        index = batch.frame_index
        poses, torso_poses = self.corrected_poses(index)
        drive = self.driven.drive(
            speech,
            self.tracked.blendshapes[index],
            poses=poses,
            torso_poses=torso_poses,
            time=torch.tensor([self._time(int(frame)) for frame in index]),
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
            band_scale=band_scale(self.config, progress),
            generator=self.generator,
        )

    def _penalties(self, rendered: RenderedRays, batch: RayBatch) -> Tensor:
        weights = self.config.loss
        penalty = weights.mask_weight * mask_loss(rendered.accumulation, batch.mask).mean()
        penalty = penalty + weights.deformation_weight * rendered.residual.square().mean()
        still = torch.isin(batch.labels, torch.tensor(STILL_CLASSES))
        penalty = penalty + weights.still_weight * still_loss(rendered.offset, still)
        for knots in self.corrections.parameters():
            penalty = penalty + weights.pose_weight * knots.square().mean()
        return penalty

    def portrait(self, progress: float) -> Portrait:
        """Put together what has been learned so far."""
        return self.snapshots.take(progress)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that a resumed training needs: tensors, and what JSON can hold."""
        tensors = {f"driven.{name}": t for name, t in self.driven.state_dict().items()}
        tensors |= {f"teacher.{name}": t for name, t in self.teacher.state_dict().items()}
        tensors |= {f"corrections.{name}": t for name, t in self.corrections.state_dict().items()}
        tensors["torch_generator"] = self.generator.get_state()
        moments = moments_to_tensors(self.optimiser)
        tensors |= {f"optimiser.{name}": tensor for name, tensor in moments.items()}
        plain = {
            "random": self.random.bit_generator.state,
            "sampler": self.sampler.state(),
            "stage_steps": self.stage_steps,
        }
        return tensors, plain

    def load_state(self, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        """Go back to a state that `state` returned.

        Raises:
            RuntimeError, KeyError: If it is of other networks.
        """

        def part(prefix: str) -> dict[str, Tensor]:
            names = (name for name in tensors if name.startswith(prefix))
            return {name.removeprefix(prefix): tensors[name] for name in names}

        self.driven.load_state_dict(part("driven."))
        self.teacher.load_state_dict(part("teacher."))
        if isinstance(self.driven, HeadAndTorso) and self.driven.learns_torso:
            self._begin_torso()
        self.corrections.load_state_dict(part("corrections."))
        self.generator.set_state(tensors["torch_generator"])
        load_moments(self.optimiser, part("optimiser."))
        self.random.bit_generator.state = plain["random"]
        self.sampler.load_state(plain["sampler"])
        self.stage_steps = plain["stage_steps"]


def psnr_of(mean_squared_error: float) -> float:
    """Return the peak signal-to-noise ratio, dB, of values in [0, 1].

    Example:
        >>> psnr_of(0.01)
        20.0
    """
    return float(-10 * np.log10(max(mean_squared_error, 1e-12)))
