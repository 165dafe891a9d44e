"""The files of learned models: what they are, where they come from, how they are checked.

None is in this repository. A file is taken from the folder `SSPNERF_MODELS` if it is there, else
from the user's cache, else downloaded from its official address. Whatever its way, its SHA-256 is
checked.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sspnerf.errors import SspnerfError

MODELS_VARIABLE = "SSPNERF_MODELS"

_MEDIAPIPE_SOURCE = "https://raw.githubusercontent.com/google-ai-edge/mediapipe/8b57bf8/mediapipe"


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """One file of weights."""

    name: str
    """File name, the same everywhere."""
    address: str
    """Official address, to download it from."""
    sha256: str
    """Its content, as 64 hexadecimal digits."""
    licence: str
    """Licence and owner, in words."""


Fetch = Callable[[ModelFile], Path]


def _table(*files: ModelFile) -> Mapping[str, ModelFile]:
    return MappingProxyType({file.name: file for file in files})


MODEL_FILES = _table(
    ModelFile(
        name="face_landmarker.task",
        address="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/"
        "float16/1/face_landmarker.task",
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        licence="Apache-2.0, Google",
    ),
    ModelFile(
        name="selfie_segmentation.tflite",
        address=f"{_MEDIAPIPE_SOURCE}/modules/selfie_segmentation/selfie_segmentation.tflite",
        sha256="8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27",
        licence="Apache-2.0, Google",
    ),
    ModelFile(
        name="hair_segmentation.tflite",
        address=f"{_MEDIAPIPE_SOURCE}/models/hair_segmentation.tflite",
        sha256="d2c940c4fd80edeaf38f5d7387d1b4235ee320ed120080df67c663e749e77633",
        licence="Apache-2.0, Google",
    ),
    ModelFile(
        name="selfie_multiclass_256x256.tflite",
        address="https://storage.googleapis.com/mediapipe-models/image_segmenter/"
        "selfie_multiclass_256x256/float32/1/selfie_multiclass_256x256.tflite",
        sha256="c6748b1253a99067ef71f7e26ca71096cd449baefa8f101900ea23016507e0e0",
        licence="Apache-2.0, Google",
    ),
    ModelFile(
        name="79999_iter.pth",
        # The author's own place (Google Drive, 154JgKpzCPW82qINcVieuPH3fZ2e0P812) asks for a
        # click; facexlib has released the same file, byte for byte, under another name.
        address="https://github.com/xinntao/facexlib/releases/download/v0.2.0/parsing_bisenet.pth",
        sha256="468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
        licence="MIT, zllrunning/face-parsing.PyTorch; trained on CelebAMask-HQ, whose agreement "
        "allows non-commercial research only",
    ),
)


def model_path(name: str, *, fetch: Fetch | None = None) -> Path:
    """Find a model file, downloading it where it is in neither place yet.

    Args:
        name: A key of `MODEL_FILES`.
        fetch: Downloads the file and returns where it lies; the user's cache if None.

    Returns:
        Path of a file whose SHA-256 is the expected one.

    Raises:
        SspnerfError: If the file cannot be had, or is not the expected one.
    """
    model = MODEL_FILES[name]
    local = os.environ.get(MODELS_VARIABLE)
    if local and (path := Path(local) / name).is_file():
        _check_hash(path, model)
        return path
    try:
        path = (fetch or _fetch_to_cache)(model)
    except (OSError, ValueError) as error:
        # requests' errors are OSErrors; pooch reports a wrong hash as ValueError.
        raise SspnerfError(
            f"cannot download {name} from {model.address} ({type(error).__name__}); "
            f"put the file into a folder and name it in {MODELS_VARIABLE}"
        ) from error
    _check_hash(path, model)
    return path


def model_hashes(names: Iterable[str]) -> str:
    """Say in short what is in model files, for what is made with them.

    Args:
        names: Keys of `MODEL_FILES`.
    """
    return ",".join(MODEL_FILES[name].sha256[:12] for name in names)


def _check_hash(path: Path, model: ModelFile) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.sha256:
        raise SspnerfError(
            f"{path} is not the expected file: its SHA-256 is {found[:12]}..., expected "
            f"{model.sha256[:12]}...",
            f"remove it and get it from {model.address}",
        )


def _fetch_to_cache(model: ModelFile) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    found = pooch.retrieve(
        model.address,
        known_hash=f"sha256:{model.sha256}",
        fname=model.name,
        path=pooch.os_cache("sspnerf"),
    )
    return Path(found)
