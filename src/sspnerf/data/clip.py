"""The clip on disk: read and validate (docs/clip-format.md).

A clip is a folder. Arrays are .npy files opened as memory maps, so that a clip of any length costs
no memory until a frame is touched.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image
from pydantic import ValidationError

from sspnerf.data.manifest import CLIP_SCHEMA_VERSION, ClipManifest
from sspnerf.errors import ClipError
from sspnerf.geometry.face_mesh import FaceMesh
from sspnerf.media.audio import read_waveform
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ

MANIFEST_NAME = "clip.json"


class _ArraySpec(NamedTuple):
    dtype: DTypeLike
    shape: tuple[str | int, ...]


# Axes by name: what the manifest knows is checked, a name it does not know may have any length.
ARRAYS: Mapping[str, _ArraySpec] = {
    "frames": _ArraySpec(np.uint8, ("frames", "height", "width", 3)),
    "labels": _ArraySpec(np.uint8, ("frames", "height", "width")),
    "mask": _ArraySpec(np.uint8, ("frames", "height", "width")),
    "landmarks": _ArraySpec(np.float32, ("frames", "points", 3)),
    "poses": _ArraySpec(np.float32, ("frames", 4, 4)),
    "torso_poses": _ArraySpec(np.float32, ("frames", 4, 4)),
    "blendshapes": _ArraySpec(np.float32, ("frames", 52)),
    "valid": _ArraySpec(np.bool_, ("frames",)),
    "torso_confidence": _ArraySpec(np.float32, ("frames",)),
}
# What a clip may lack.
OPTIONAL_ARRAYS = frozenset({"torso_confidence"})


class Clip:
    """A prepared clip, opened for reading.

    Arrays are read-only memory maps, all with the frame as first axis:

    * `frames` uint8 (frames, height, width, 3), RGB
    * `labels` uint8 (frames, height, width), `SemanticClass` values
    * `mask` uint8 (frames, height, width), 255 = certainly person
    * `landmarks` float32 (frames, points, 3): x, y in px and z in px-like units, towards the back
    * `poses` float32 (frames, 4, 4), camera_to_world; world is head space, cm
    * `torso_poses` float32 (frames, 4, 4), camera_to_world as the torso sees it: where the camera
      stands if the torso is held still; equal to `poses` in the reference frame
    * `blendshapes` float32 (frames, 52) in [0, 1], MediaPipe's order
    * `valid` bool (frames,): False where tracking failed and values are interpolated
    * `torso_confidence` float32 (frames,) in [0, 1]: 0 where the torso's pose is a guess
    """

    def __init__(self, path: Path, manifest: ClipManifest) -> None:
        """Use `open_clip`, which validates."""
        self.path = path
        self.manifest = manifest

    def _map(self, name: str) -> NDArray[Any]:
        return np.asarray(np.load(self.path / f"{name}.npy", mmap_mode="r"))

    @cached_property
    def frames(self) -> NDArray[np.uint8]:
        """Pictures, uint8 RGB. Shape (frames, height, width, 3)."""
        return self._map("frames")

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """Semantic classes. Shape (frames, height, width)."""
        return self._map("labels")

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """Soft person mask, 0 to 255. Shape (frames, height, width)."""
        return self._map("mask")

    @cached_property
    def landmarks(self) -> NDArray[np.float32]:
        """Tracked points; x, y in px. Shape (frames, points, 3)."""
        return self._map("landmarks")

    @cached_property
    def poses(self) -> NDArray[np.float32]:
        """camera_to_world of each frame. Shape (frames, 4, 4)."""
        return self._map("poses")

    @cached_property
    def torso_poses(self) -> NDArray[np.float32]:
        """camera_to_world of each frame with the torso held still. Shape (frames, 4, 4)."""
        return self._map("torso_poses")

    @cached_property
    def blendshapes(self) -> NDArray[np.float32]:
        """Facial blendshape weights, [0, 1]. Shape (frames, 52)."""
        return self._map("blendshapes")

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """Whether tracking found the face. Shape (frames,)."""
        return self._map("valid")

    @cached_property
    def torso_confidence(self) -> NDArray[np.float32]:
        """How well the torso's pose is known, [0, 1]; 1 where nobody said. Shape (frames,)."""
        if not (self.path / "torso_confidence.npy").is_file():
            return np.ones(self.manifest.frames, np.float32)
        return self._map("torso_confidence")

    @cached_property
    def mesh(self) -> FaceMesh:
        """The person's face at rest, in world space."""
        with np.load(self.path / "mesh.npz") as arrays:
            return FaceMesh(vertices=arrays["vertices"], triangles=arrays["triangles"])

    @cached_property
    def background(self) -> NDArray[np.uint8]:
        """The picture behind the person, uint8 RGB. Shape (height, width, 3)."""
        with Image.open(self.path / "background.png") as image:
            return np.array(image.convert("RGB"))

    def speech(self) -> NDArray[np.float32]:
        """Read the sound.

        Returns:
            Mono waveform at 16 kHz in [-1, 1]. Shape (samples,).

        Raises:
            ClipError: If the clip has no sound.
        """
        if not self.manifest.has_speech:
            raise ClipError(
                f"{self.path} has no sound",
                "train it with --speech FILE, a recording of the same take",
            )
        return read_waveform(self.path / "speech.wav", sample_rate_hz=SPEECH_SAMPLE_RATE_HZ)

    def feature(self, name: str) -> NDArray[np.float32]:
        """Read one kind of speech features.

        Args:
            name: As in the manifest, for example `logmel`.

        Returns:
            Features at the manifest's rate. Shape (feature_frames, feature_dim).

        Raises:
            ClipError: If the clip has no such features.
        """
        if name not in self.manifest.features:
            known = ", ".join(sorted(self.manifest.features)) or "none"
            raise ClipError(
                f"{self.path} has no speech features named {name}; it has: {known}",
                "prepare the clip again with these features",
            )
        return self._map(f"features/{name}")

    def has_truth(self, name: str) -> bool:
        """Say whether `truth` can be asked for this."""
        return (self.path / "truth" / f"{name}.npy").is_file()

    def truth(self, name: str) -> NDArray[Any]:
        """Read what only a synthetic clip knows exactly (truth/NAME.npy).

        Raises:
            ClipError: If the clip holds no such truth.
        """
        if not self.has_truth(name):
            raise ClipError(f"{self.path} holds no truth named {name}", "only synthetic clips do")
        return self._map(f"truth/{name}")


def open_clip(path: Path) -> Clip:
    """Open a prepared clip and check that it is whole.

    Reads the manifest, the mesh and the arrays' headers, not the arrays.

    Raises:
        ClipError: If the folder is no clip, is of another schema version or is damaged.
    """
    manifest = _read_manifest(path)
    clip = Clip(path, manifest)
    axes = {axis: getattr(manifest, axis) for axis in ("frames", "height", "width")}
    for name, spec in ARRAYS.items():
        if name not in OPTIONAL_ARRAYS or (path / f"{name}.npy").exists():
            _check_array(clip, name, spec, axes)
    for name, feature in manifest.features.items():
        spec = _ArraySpec(np.float32, ("feature_frames", feature.dim))
        _check_array(clip, f"features/{name}", spec, axes)
    for name in ["mesh.npz", "background.png"] + ["speech.wav"] * manifest.has_speech:
        if not (path / name).is_file():
            raise ClipError(f"{path} is damaged: {name} is missing", "prepare it again")
    _check_mesh(clip)
    _check_background(clip)
    return clip


def _read_manifest(path: Path) -> ClipManifest:
    file = path / MANIFEST_NAME
    if not file.is_file():
        what = "does not exist" if not path.exists() else f"is no clip: it has no {MANIFEST_NAME}"
        raise ClipError(
            f"{path} {what}", "make one with: sspnerf prepare VIDEO CLIP, or: sspnerf synth CLIP"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        version = content.get("schema_version")
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ClipError(f"{file} is damaged: {error}", "prepare the clip again") from error
    if version != CLIP_SCHEMA_VERSION:
        raise ClipError(
            f"{path} has clip schema version {version}; this sspnerf reads {CLIP_SCHEMA_VERSION}",
            "prepare it again with this version",
        )
    try:
        return ClipManifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ClipError(
            f"{file} is damaged: {where}: {first['msg']}", "prepare the clip again"
        ) from error


def _check_array(clip: Clip, name: str, spec: _ArraySpec, axes: Mapping[str, int]) -> None:
    if not (clip.path / f"{name}.npy").is_file():
        raise ClipError(f"{clip.path} is damaged: {name}.npy is missing", "prepare it again")
    try:
        array = clip._map(name)
    except (OSError, ValueError, EOFError) as error:
        raise ClipError(
            f"{clip.path} is damaged: {name}.npy: {error}", "prepare it again"
        ) from error
    expected = tuple(axes.get(axis) if isinstance(axis, str) else axis for axis in spec.shape)
    fits = len(array.shape) == len(expected) and all(
        want in (None, have) for want, have in zip(expected, array.shape, strict=True)
    )
    if array.dtype != np.dtype(spec.dtype) or not fits:
        raise ClipError(
            f"{clip.path} is damaged: {name}.npy is {array.dtype} {array.shape}; "
            f"expected {np.dtype(spec.dtype)} {tuple('any' if n is None else n for n in expected)}",
            "prepare it again",
        )


def _check_mesh(clip: Clip) -> None:
    try:
        vertices, triangles = clip.mesh.vertices, clip.mesh.triangles
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        raise ClipError(f"{clip.path} is damaged: mesh.npz: {error}", "prepare it again") from error
    is_whole = vertices.shape[1:] == (3,) and triangles.shape[1:] == (3,) and triangles.size > 0
    if not is_whole or triangles.min() < 0 or triangles.max() >= len(vertices):
        raise ClipError(
            f"{clip.path} is damaged: mesh.npz holds vertices {vertices.shape} and triangles "
            f"{triangles.shape}; expected (vertices, 3) and (triangles, 3) that name them",
            "prepare it again",
        )


def _check_background(clip: Clip) -> None:
    try:
        # Opening reads the header only.
        with Image.open(clip.path / "background.png") as image:
            size = image.size
    except OSError as error:
        raise ClipError(
            f"{clip.path} is damaged: background.png: {error}", "prepare it again"
        ) from error
    expected = (clip.manifest.width, clip.manifest.height)
    if size != expected:
        raise ClipError(
            f"{clip.path} is damaged: background.png is {size[0]} x {size[1]} px; "
            f"expected {expected[0]} x {expected[1]}",
            "prepare it again",
        )
