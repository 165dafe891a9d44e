"""The portrait: everything that rendering needs, saved and loaded as one thing.

Two files: portrait.safetensors (weights, plate, poses) and portrait.json (what they mean).
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sspnerf.config import PRESETS, from_toml
from sspnerf.data.manifest import Camera, SpeechFeature
from sspnerf.errors import PortraitError, UsageError
from sspnerf.fields.conditioning import frame_windows, neighbour_frames
from sspnerf.fields.driven_field import DrivenField
from sspnerf.geometry.cameras import pixel_centers
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.geometry.rays import cast_rays
from sspnerf.render.build import build_driven
from sspnerf.render.person_map import MAP_NODES, on_person
from sspnerf.render.rendered import RenderedRays
from sspnerf.render.torso_follower import INPUTS, TorsoFollower
from sspnerf.render.volume import render_rays

PORTRAIT_SCHEMA_VERSION = 3
PORTRAIT_JSON = "portrait.json"
PORTRAIT_WEIGHTS = "portrait.safetensors"
# Bounds the memory of rendering, however large the picture.
POINTS_PER_CHUNK = 131_072
_NETWORK_PREFIX = "driven."
_FOLLOWER_PREFIX = "torso_follower."


class PortraitInfo(BaseModel):
    """What portrait.json says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = PORTRAIT_SCHEMA_VERSION
    source: str
    """The video that it was learned from."""
    licence: str
    frame_rate_hz: float
    cuts: tuple[int, ...] = ()
    """First frames of the clip after a cut; films do not play across them."""
    width: int
    height: int
    camera: Camera
    speech_feature: str
    speech_rate_hz: float
    feature_dim: int
    speech_model: str = ""
    """Network that hears; empty for features that need none."""
    speech_layer: int | None = None
    """Layer of that network."""
    speech_weights: str = ""
    """Fingerprint of that network's weights."""
    speech_level_db: float
    """Level of the speech that it was learned from, dBFS; new speech is brought to it."""
    mesh_vertices: int
    """Vertices of the person's mesh."""
    band_scale: float
    training_frames: int
    """Frames [0, this) of the clip were learned from; later ones were held out."""
    config: dict[str, Any]
    """The settings of the training, as in config.toml."""

    @property
    def intrinsics(self) -> Intrinsics:
        """The camera with the picture's size."""
        return Intrinsics(**self.camera.model_dump(), width=self.width, height=self.height)

    @property
    def heard(self) -> SpeechFeature:
        """The features that it listens to."""
        return SpeechFeature(
            rate_hz=self.speech_rate_hz,
            dim=self.feature_dim,
            model=self.speech_model,
            layer=self.speech_layer,
            weights=self.speech_weights,
        )


class RenderedFrame(NamedTuple):
    """One rendered picture."""

    color: NDArray[np.uint8]
    """RGB. Shape (height, width, 3)."""
    labels: NDArray[np.uint8]
    """`SemanticClass` of each pixel. Shape (height, width)."""
    accumulation: NDArray[np.float32]
    """How much of each pixel is person, [0, 1]. Shape (height, width)."""
    distance: NDArray[np.float32]
    """Distance of the person, cm; 0 where there is none. Shape (height, width)."""


class Portrait:
    """A learned talking portrait.

    Attributes:
        info: What portrait.json says.
        driven: The learned networks.
        background: Plate, [0, 1]. Shape (height, width, 3).
        poses: camera_to_world of the clip's frames. Shape (frames, 4, 4).
        torso_poses: The same with the torso held still. Shape (frames, 4, 4).
        blendshapes: Of the clip's frames. Shape (frames, 52).
        person_map: Where the person can be, over canonical x and y (see `render.person_map`).
        torso_follower: How the torso follows the head in poses that were never filmed.
    """

    def __init__(self, info: PortraitInfo, driven: DrivenField, arrays: dict[str, Tensor]) -> None:
        """Put the parts together; `load_portrait` reads them from files.

        Args:
            info: What portrait.json says.
            driven: The learned networks.
            arrays: background (uint8), poses, torso_poses, blendshapes, person_map, and
                torso_follower.* (`TorsoFollower.tensors`).
        """
        self.info = info
        self.driven = driven.eval()
        self.background = arrays["background"].float() / 255
        self.poses, self.torso_poses = arrays["poses"], arrays["torso_poses"]
        self.blendshapes = arrays["blendshapes"]
        self.person_map: Bool[Tensor, "nodes nodes"] = arrays["person_map"]
        self.torso_follower = TorsoFollower(**_with_prefix(arrays, _FOLLOWER_PREFIX))
        self._pixels = pixel_centers(info.width, info.height)

    @property
    def frames(self) -> int:
        """Frames of the clip whose poses and blinks the portrait knows."""
        return len(self.poses)

    def time(self, clip_frame: int) -> float:
        """Say when in the clip a frame is, [0, 1], but no later than was learned."""
        return min(clip_frame, self.info.training_frames - 1) / max(1, self.frames - 1)

    def windows(
        self, features: NDArray[np.float32], frame_index: NDArray[np.int64]
    ) -> Float[Tensor, "frames neighbours window feature_dim"]:
        """Cut speech windows for frames of a recording at the portrait's frame rate.

        Args:
            features: The recording's features. Shape (feature_frames, feature_dim).
            frame_index: Frames of the film to be. Shape (frames,).
        """
        return frame_windows(
            features,
            neighbour_frames(frame_index),
            rate_hz=self.info.speech_rate_hz,
            frame_rate_hz=self.info.frame_rate_hz,
        )

    @torch.inference_mode()
    def render_frame(
        self,
        windows: Float[Tensor, "1 neighbours window feature_dim"],
        *,
        clip_frame: int,
        pose: Float[Tensor, "4 4"] | None = None,
        torso_pose: Float[Tensor, "4 4"] | None = None,
    ) -> RenderedFrame:
        """Render one picture.

        Args:
            windows: Speech windows around the moment, from `windows`.
            clip_frame: Frame of the clip whose pose and upper face are shown.
            pose: camera_to_world to show instead of the clip frame's. Shape (4, 4).
            torso_pose: The same with the torso held still. Shape (4, 4). None: the clip frame's;
                with a `pose`, that of a torso that has followed the head there.
        """
        pose, torso_pose = self._bones(clip_frame, pose, torso_pose)
        drive = self.driven.drive(
            self.driven.speech_encoder(windows),
            self.blendshapes[clip_frame : clip_frame + 1],
            poses=pose,
            torso_poses=torso_pose,
            time=torch.tensor([self.time(clip_frame)]),
        )
        slot = torch.zeros(len(self._pixels), dtype=torch.long)
        rays = cast_rays(
            self.info.intrinsics, self._pixels, poses=pose, torso_poses=torso_pose, slot=slot
        )
        behind = self.background.reshape(-1, 3)
        person = torch.nonzero(on_person(self.person_map, self.driven, rays))[:, 0]
        rays, chunk = rays.select(person), max(1, POINTS_PER_CHUNK // self.driven.ray_samples)
        parts = [
            render_rays(
                self.driven,
                rays.select(slice(start, start + chunk)),
                drive,
                background=behind[person[start : start + chunk]],
                band_scale=self.info.band_scale,
            )
            for start in range(0, len(person), chunk)
        ]
        return self._assemble(person, parts)

    def _bones(
        self, clip_frame: int, pose: Tensor | None, torso_pose: Tensor | None
    ) -> tuple[Float[Tensor, "1 4 4"], Float[Tensor, "1 4 4"]]:
        """Choose where head and torso are."""
        shown = self.poses[clip_frame, None] if pose is None else pose[None]
        if torso_pose is not None:
            return shown, torso_pose[None]
        if pose is None:
            return shown, self.torso_poses[clip_frame, None]
        rate = self.info.frame_rate_hz
        return shown, self.torso_follower.predict(shown, frame_rate_hz=rate)

    def _assemble(self, person: Tensor, parts: list[RenderedRays]) -> RenderedFrame:
        """Lay rendered rays over the plate."""
        size = (self.info.height, self.info.width)
        color = self.background.reshape(-1, 3).clone()
        labels = torch.zeros(len(color), dtype=torch.uint8)
        accumulation, distance = torch.zeros(len(color)), torch.zeros(len(color))
        if parts:
            color[person] = torch.cat([part.color for part in parts])
            labels[person] = torch.cat([part.logits.argmax(-1) for part in parts]).to(torch.uint8)
            accumulation[person] = torch.cat([part.accumulation for part in parts])
            distance[person] = torch.cat([part.distance for part in parts])
        picture = (color.clamp(0, 1) * 255).round().to(torch.uint8)
        return RenderedFrame(
            picture.reshape(*size, 3).numpy(),
            labels.reshape(size).numpy(),
            accumulation.reshape(size).numpy(),
            distance.reshape(size).numpy(),
        )

    def save(self, run: Path) -> None:
        """Write portrait.safetensors and portrait.json into a folder, each whole or not at all."""
        tensors = {
            f"{_NETWORK_PREFIX}{name}": tensor.contiguous()
            for name, tensor in self.driven.state_dict().items()
        }
        tensors["background"] = (self.background * 255).round().to(torch.uint8)
        for name in ("poses", "torso_poses", "blendshapes", "person_map"):
            tensors[name] = getattr(self, name).contiguous()
        for name, tensor in self.torso_follower.tensors().items():
            tensors[f"{_FOLLOWER_PREFIX}{name}"] = tensor.contiguous()
        partial = run / f".{PORTRAIT_WEIGHTS}.partial"
        save_file(tensors, partial)
        partial.replace(run / PORTRAIT_WEIGHTS)
        partial = run / f".{PORTRAIT_JSON}.partial"
        partial.write_text(self.info.model_dump_json(indent=2) + "\n", encoding="utf-8")
        partial.replace(run / PORTRAIT_JSON)


def load_portrait(run: Path | str) -> Portrait:
    """Load a portrait.

    Args:
        run: A run's folder, or a copy of its two portrait files.

    Raises:
        PortraitError: If the files are missing, damaged or of another version.
    """
    run = Path(run)
    info = _read_info(run)
    try:
        tensors = load_file(run / PORTRAIT_WEIGHTS)
        config = from_toml(PRESETS["fast"], info.config)
        driven = build_driven(
            config,
            feature_dim=info.feature_dim,
            rate_hz=info.speech_rate_hz,
            mesh_vertices=info.mesh_vertices,
        )
        driven.load_state_dict(_with_prefix(tensors, _NETWORK_PREFIX))
        _check_arrays(info, tensors)
        return Portrait(info, driven, tensors)
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError, UsageError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise PortraitError(
            f"{run / PORTRAIT_WEIGHTS} cannot be loaded: {reason}", "train the portrait again"
        ) from error


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Select tensors by the start of their names, and take it off."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _check_arrays(info: PortraitInfo, arrays: dict[str, Tensor]) -> None:
    frames = len(arrays["poses"])
    expected = {
        "background": (info.height, info.width, 3),
        "poses": (frames, 4, 4),
        "torso_poses": (frames, 4, 4),
        "blendshapes": (frames, 52),
        "person_map": (MAP_NODES, MAP_NODES),
        f"{_FOLLOWER_PREFIX}reference": (4, 4),
        f"{_FOLLOWER_PREFIX}weight": (INPUTS, 6),
        f"{_FOLLOWER_PREFIX}offset": (6,),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            found = tuple(arrays[name].shape)
            raise ValueError(f"{name} has shape {found}; expected {shape}")


def _read_info(run: Path) -> PortraitInfo:
    file = run / PORTRAIT_JSON
    if not file.is_file():
        raise PortraitError(
            f"{run} holds no portrait: {PORTRAIT_JSON} is missing",
            "train one with: sspnerf train CLIP RUN",
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        version = content.get("schema_version")
        if version != PORTRAIT_SCHEMA_VERSION:
            raise PortraitError(
                f"{run} has portrait schema version {version}; "
                f"this sspnerf reads {PORTRAIT_SCHEMA_VERSION}",
                "train it again with this version",
            )
        return PortraitInfo.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise PortraitError(f"{file} is damaged: {reason}", "train the portrait again") from error
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise PortraitError(f"{file} is damaged: {error}", "train the portrait again") from error
