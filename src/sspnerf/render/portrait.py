"""The portrait: everything that rendering needs, saved and loaded as one thing.

Two files: portrait.safetensors (weights, plate, poses) and portrait.json (what they mean).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sspnerf.config import PRESETS, from_toml
from sspnerf.errors import PortraitError, UsageError
from sspnerf.fields.conditioning import frame_windows, neighbour_frames
from sspnerf.fields.driven_field import DrivenField
from sspnerf.geometry.cameras import pixel_centers, pixel_directions
from sspnerf.geometry.rays import RayBundle
from sspnerf.render.build import build_driven
from sspnerf.render.person_map import MAP_NODES, rays_on_person
from sspnerf.render.portrait_info import PORTRAIT_JSON, PortraitInfo, read_info
from sspnerf.render.rendered import RenderedRays
from sspnerf.render.torso_follower import INPUTS, TorsoFollower
from sspnerf.render.volume import render_rays

PORTRAIT_WEIGHTS = "portrait.safetensors"
# Bounds the memory of rendering, however large the picture; measured as the fastest, with half and
# twice as many close behind.
POINTS_PER_CHUNK = 32_768
# Chunks of any size would each leave their own matrix products in the library's cache: 7 MB a
# frame at 256 px, measured over 40 frames.
RAYS_ROUNDED_TO = 256
# The rays of a picture that are rendered ahead of the first, one in so many.
WARM_UP_EVERY = 1024
_NETWORK_PREFIX = "driven."
_FOLLOWER_PREFIX = "torso_follower."


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
        self._plate = _to_bytes(self.background).view(-1, 3)
        self._in_camera = pixel_directions(info.intrinsics, pixel_centers(info.width, info.height))
        self._slot = torch.zeros(len(self._in_camera), dtype=torch.long)

    @property
    def frames(self) -> int:
        """Frames of the clip whose poses and blinks the portrait knows."""
        return len(self.poses)

    def time(self, clip_frame: int) -> float:
        """Say when in the clip a frame is, [0, 1], but no later than was learned."""
        return min(clip_frame, self.info.training_frames - 1) / max(1, self.frames - 1)

    @torch.inference_mode()
    def hear(
        self, features: NDArray[np.float32], frame_index: NDArray[np.int64]
    ) -> Float[Tensor, "frames speech_dim"]:
        """Encode what is heard around frames of a recording at the portrait's frame rate.

        Each speech window is encoded once, however many of the frames it is a neighbour of.

        Args:
            features: The recording's features. Shape (feature_frames, feature_dim).
            frame_index: Frames of the film to be. Shape (frames,).

        Returns:
            What `render_frame` takes, one row per frame. Shape (frames, speech_dim).
        """
        neighbours = neighbour_frames(frame_index)
        unique, place = np.unique(neighbours, return_inverse=True)
        windows = frame_windows(
            features,
            unique,
            rate_hz=self.info.speech_rate_hz,
            frame_rate_hz=self.info.frame_rate_hz,
        )
        encoder = self.driven.speech_encoder
        encoded: Tensor = encoder.encode(windows)[torch.from_numpy(place).view(neighbours.shape)]
        return encoder.attend(encoded)

    @torch.inference_mode()
    def render_frame(
        self,
        speech: Float[Tensor, " speech_dim"],
        *,
        clip_frame: int,
        pose: Float[Tensor, "4 4"] | None = None,
        torso_pose: Float[Tensor, "4 4"] | None = None,
    ) -> RenderedFrame:
        """Render one picture, its labels and its distances.

        Args:
            speech: What is heard around the moment, a row of `hear`. Shape (speech_dim,).
            clip_frame: Frame of the clip whose pose and upper face are shown.
            pose: camera_to_world to show instead of the clip frame's. Shape (4, 4).
            torso_pose: The same with the torso held still. Shape (4, 4). None: the clip frame's;
                with a `pose`, that of a torso that has followed the head there.
        """
        color, number = self._plate.clone(), len(self._plate)
        labels = torch.zeros(number, dtype=torch.uint8)
        accumulation, distance = torch.zeros(number), torch.zeros(number)
        for pixel, seen in self._render(speech, clip_frame, pose, torso_pose, parse=True):
            color[pixel] = _to_bytes(seen.color)
            labels[pixel] = seen.logits.argmax(-1).to(torch.uint8)
            accumulation[pixel], distance[pixel] = seen.accumulation, seen.distance
        size = (self.info.height, self.info.width)
        return RenderedFrame(
            color.view(*size, 3).numpy(),
            labels.view(size).numpy(),
            accumulation.view(size).numpy(),
            distance.view(size).numpy(),
        )

    @torch.inference_mode()
    def render_color(
        self,
        speech: Float[Tensor, " speech_dim"],
        *,
        clip_frame: int,
        pose: Float[Tensor, "4 4"] | None = None,
        torso_pose: Float[Tensor, "4 4"] | None = None,
    ) -> NDArray[np.uint8]:
        """Render one picture and nothing else; arguments as of `render_frame`, whose color it is.

        Returns:
            RGB. Shape (height, width, 3).
        """
        color = self._plate.clone()
        for pixel, seen in self._render(speech, clip_frame, pose, torso_pose, parse=False):
            color[pixel] = _to_bytes(seen.color)
        return color.view(self.info.height, self.info.width, 3).numpy()

    def warm_up(self) -> None:
        """Render a few rays, so that kernels are loaded before the first picture is wanted."""
        features = np.zeros((1, self.info.feature_dim), dtype=np.float32)
        speech = self.hear(features, np.zeros(1, dtype=np.int64))[0]
        with torch.inference_mode():
            for _ in self._render(speech, 0, None, None, parse=False, every=WARM_UP_EVERY):
                pass

    def _render(
        self,
        speech: Tensor,
        clip_frame: int,
        pose: Tensor | None,
        torso_pose: Tensor | None,
        *,
        parse: bool,
        every: int = 1,
    ) -> Iterator[tuple[Int[Tensor, " rays"], RenderedRays]]:
        """Render the rays that may show the person, chunk by chunk: their pixels, what they see."""
        poses, torso_poses = self._bones(clip_frame, pose, torso_pose)
        drive = self.driven.drive(
            speech[None],
            self.blendshapes[clip_frame : clip_frame + 1],
            poses=poses,
            torso_poses=torso_poses,
            time=torch.tensor([self.time(clip_frame)]),
        )
        rays = self._cast(poses[0], torso_poses[0])
        person, surface = rays_on_person(self.person_map, self.driven, rays)
        # The last ray is repeated until the number is round; see RAYS_ROUNDED_TO.
        even = -(-len(person) // RAYS_ROUNDED_TO) * RAYS_ROUNDED_TO
        place = torch.arange(0, even, every).clamp(max=len(person) - 1)
        chunk = max(1, POINTS_PER_CHUNK // self.driven.ray_samples)
        for part in torch.split(place, chunk) if len(place) else ():
            pixel = person[part]
            seen = render_rays(
                self.driven,
                rays.select(pixel),
                drive,
                background=self.background.view(-1, 3)[pixel],
                band_scale=self.info.band_scale,
                surface=None if surface is None else surface[part],
                parse=parse,
            )
            yield pixel, seen

    def _cast(self, pose: Float[Tensor, "4 4"], torso_pose: Float[Tensor, "4 4"]) -> RayBundle:
        """Send a ray through each pixel; what the camera sees of it never changes."""
        pixels = self._in_camera
        return RayBundle(
            origin=pose[:3, 3].expand_as(pixels),
            direction=pixels @ pose[:3, :3].T,
            torso_origin=torso_pose[:3, 3].expand_as(pixels),
            torso_direction=pixels @ torso_pose[:3, :3].T,
            slot=self._slot,
        )

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
    """Load a portrait, ready to render: kernels are loaded too, which takes most of a second.

    Args:
        run: A run's folder, or a copy of its two portrait files.

    Raises:
        PortraitError: If the files are missing, damaged or of another version.
    """
    run = Path(run)
    info = read_info(run)
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
        portrait = Portrait(info, driven, tensors)
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError, UsageError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise PortraitError(
            f"{run / PORTRAIT_WEIGHTS} cannot be loaded: {reason}", "train the portrait again"
        ) from error
    portrait.warm_up()
    return portrait


def _to_bytes(color: Float[Tensor, "*pixels 3"]) -> UInt8[Tensor, "*pixels 3"]:
    return (color.clamp(0, 1) * 255).round().to(torch.uint8)


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
