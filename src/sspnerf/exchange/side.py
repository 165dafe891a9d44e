"""What a clip holds and AD-NeRF's layout has no place for: the folder `sspnerf` beside the rest.

    sspnerf/
    ├── side.json     version, the clip's manifest, which aud*.npy were made from its features
    ├── arrays.npz    landmarks, blendshapes, torso_poses, torso_confidence, valid
    ├── mesh.npz      vertices, triangles
    ├── labels/ID.png, mask/ID.png    11 classes and the soft mask, gray
    └── features/NAME.npy

`export` writes it, and `import` reads it where it is: a clip comes back as it went, but for what
JPEG does to its pictures. Whoever changes the layout by hand removes the folder.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from sspnerf.data.clip import Clip
from sspnerf.data.manifest import ClipManifest
from sspnerf.errors import MediaError
from sspnerf.geometry.face_mesh import FaceMesh

FOLDER = "sspnerf"
SIDE_VERSION = 1
ARRAYS = ("landmarks", "blendshapes", "torso_poses", "torso_confidence", "valid")
_HINT = f"remove the folder `{FOLDER}`: the rest is then imported as any layout is"


class Side(NamedTuple):
    """The folder, opened."""

    path: Path
    manifest: ClipManifest
    """Of the clip that was exported."""
    derived: tuple[str, ...]
    """Names of aud*.npy that say nothing which `features` do not."""
    arrays: Mapping[str, NDArray[Any]]
    mesh: FaceMesh

    def gray(self, kind: str, img_id: int) -> NDArray[np.uint8]:
        """Read a label map or a mask.

        Args:
            kind: `labels` or `mask`.
            img_id: The frame.

        Returns:
            Shape (height, width).
        """
        path = self.path / kind / f"{img_id}.png"
        expected = (self.manifest.height, self.manifest.width)
        try:
            with Image.open(path) as image:
                gray = np.array(image)
        except OSError as error:
            raise MediaError(f"{path} cannot be read: {error}", _HINT) from error
        if gray.shape != expected or gray.dtype != np.uint8:
            raise MediaError(f"{path} is {gray.dtype} {gray.shape}; expected {expected}", _HINT)
        return gray

    def feature(self, name: str) -> NDArray[np.float32]:
        """Read speech features of the clip."""
        path = self.path / "features" / f"{name}.npy"
        try:
            return np.asarray(np.load(path), dtype=np.float32)
        except (OSError, ValueError, EOFError) as error:
            raise MediaError(f"{path} cannot be read: {error}", _HINT) from error


def write_side(folder: Path, clip: Clip, *, derived: tuple[str, ...]) -> None:
    """Write all but labels and masks, which `write_gray` writes frame by frame.

    Args:
        folder: The layout's.
        clip: What is exported.
        derived: Names of the aud*.npy that were made from its features.
    """
    side = folder / FOLDER
    for name in ("labels", "mask", "features"):
        (side / name).mkdir(parents=True, exist_ok=True)
    told = {
        "version": SIDE_VERSION,
        "derived": list(derived),
        "manifest": clip.manifest.model_dump(mode="json"),
    }
    (side / "side.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    np.savez_compressed(
        side / "arrays.npz",
        landmarks=clip.landmarks,
        blendshapes=clip.blendshapes,
        torso_poses=clip.torso_poses,
        torso_confidence=clip.torso_confidence,
        valid=clip.valid,
    )
    np.savez(side / "mesh.npz", vertices=clip.mesh.vertices, triangles=clip.mesh.triangles)
    for name in clip.manifest.features:
        np.save(side / "features" / f"{name}.npy", clip.feature(name))


def write_gray(folder: Path, kind: str, img_id: int, gray: NDArray[np.uint8]) -> None:
    """Write a label map or a mask. Shape (height, width)."""
    Image.fromarray(gray).save(folder / FOLDER / kind / f"{img_id}.png")


def read_side(folder: Path) -> Side | None:
    """Open the side folder of a layout.

    Returns:
        None if the layout has none.

    Raises:
        MediaError: If it is damaged or of another version.
    """
    path = folder / FOLDER
    if not path.is_dir():
        return None
    try:
        told = json.loads((path / "side.json").read_text(encoding="utf-8"))
        if told["version"] != SIDE_VERSION:
            raise MediaError(
                f"{path} has version {told['version']}; this sspnerf reads {SIDE_VERSION}", _HINT
            )
        manifest = ClipManifest.model_validate(told["manifest"])
        derived = tuple(str(name) for name in told["derived"])
        with np.load(path / "arrays.npz") as file:
            arrays = {name: np.asarray(file[name]) for name in ARRAYS}
        with np.load(path / "mesh.npz") as file:
            mesh = FaceMesh(vertices=file["vertices"], triangles=file["triangles"])
    except (OSError, ValueError, KeyError, TypeError, BadZipFile, ValidationError) as error:
        raise MediaError(f"{path} is damaged: {error}".splitlines()[0], _HINT) from error
    lengths = {name: len(array) for name, array in arrays.items()}
    if set(lengths.values()) != {manifest.frames}:
        raise MediaError(f"{path}: arrays of {lengths} frames; expected {manifest.frames}", _HINT)
    return Side(path, manifest, derived, arrays, mesh)
