"""The three parsers: what says which class a pixel shows.

`landmarks`   outlines of landmarks, masks and colors (`prepare.parsing`); no further download
`bisenet`     a face-parsing network on a square around the face; landmarks where it says nothing
`multiclass`  a network that tells hair, skin and clothes apart; the inside of the face from
              landmarks

All keep to the person mask: what is no person is background.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from sspnerf.config.clips import PARSERS
from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass
from sspnerf.errors import UsageError
from sspnerf.perception.celeba_mask import FACE_SIDE, CelebAMaskClass
from sspnerf.perception.models import model_path
from sspnerf.perception.multiclass import SelfieClass, SelfieNetwork
from sspnerf.prepare import parsing
from sspnerf.prepare.colors import SkinColor
from sspnerf.prepare.face_regions import face_regions

BASE_MODELS = ("face_landmarker.task", "selfie_segmentation.tflite", "hair_segmentation.tflite")
BISENET_MODEL = "79999_iter.pth"
MULTICLASS_MODEL = "selfie_multiclass_256x256.tflite"

# Corners of the mouth, by their numbers in MediaPipe's canonical face.
MOUTH_CORNERS = (61, 291)
# Side of BiSeNet's square in sides of CelebA-HQ's, which cuts the hair: in training, faces appeared
# down to 1/1.14 of their size there, and the network is used on smaller ones still.
FACE_MARGIN = 1.5
# What is drawn from landmarks inside the face.
FEATURES = (
    SemanticClass.BROW,
    SemanticClass.EYE,
    SemanticClass.NOSE,
    SemanticClass.LIP,
    SemanticClass.MOUTH_INTERIOR,
)

# CelebAMask-HQ's classes in ours. Not listed: background, for the person mask knows better where
# the person ends; and glasses, whose lenses hide what we want to know: eyes, brows, skin.
CELEBAMASK_TO_SEMANTIC: Mapping[CelebAMaskClass, SemanticClass] = MappingProxyType(
    {
        CelebAMaskClass.SKIN: SemanticClass.SKIN,
        CelebAMaskClass.LEFT_BROW: SemanticClass.BROW,
        CelebAMaskClass.RIGHT_BROW: SemanticClass.BROW,
        CelebAMaskClass.LEFT_EYE: SemanticClass.EYE,
        CelebAMaskClass.RIGHT_EYE: SemanticClass.EYE,
        CelebAMaskClass.LEFT_EAR: SemanticClass.EAR,
        CelebAMaskClass.RIGHT_EAR: SemanticClass.EAR,
        CelebAMaskClass.EARRING: SemanticClass.EAR,
        CelebAMaskClass.NOSE: SemanticClass.NOSE,
        CelebAMaskClass.MOUTH: SemanticClass.MOUTH_INTERIOR,
        CelebAMaskClass.UPPER_LIP: SemanticClass.LIP,
        CelebAMaskClass.LOWER_LIP: SemanticClass.LIP,
        CelebAMaskClass.NECK: SemanticClass.NECK,
        CelebAMaskClass.NECKLACE: SemanticClass.NECK,
        CelebAMaskClass.CLOTH: SemanticClass.TORSO,
        CelebAMaskClass.HAIR: SemanticClass.HAIR,
        # A hat moves with the head and hides hair.
        CelebAMaskClass.HAT: SemanticClass.HAIR,
    }
)


@runtime_checkable
class Parser(Protocol):
    """Labels every pixel of a frame; may hold a network, which `close` lets go."""

    def label(
        self,
        picture: NDArray[np.uint8],
        landmarks: NDArray[np.float32],
        *,
        person: NDArray[np.float32],
        hair: NDArray[np.float32],
        skin: SkinColor,
    ) -> NDArray[np.uint8]:
        """Label a frame; arguments and result as `prepare.parsing.parse_frame`'s."""
        ...

    def close(self) -> None:
        """Let go what it holds."""
        ...


@runtime_checkable
class PixelNetwork(Protocol):
    """Tells the probability of each of its classes for each pixel."""

    def probabilities(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Shape (height, width, 3), RGB -> (classes, height, width), summing to 1."""
        ...


class LandmarkParser:
    """The default: outlines of landmarks, person and hair masks, the color of the skin."""

    def label(
        self,
        picture: NDArray[np.uint8],
        landmarks: NDArray[np.float32],
        *,
        person: NDArray[np.float32],
        hair: NDArray[np.float32],
        skin: SkinColor,
    ) -> NDArray[np.uint8]:
        """Label a frame; arguments and result as `prepare.parsing.parse_frame`'s."""
        return parsing.parse_frame(picture, landmarks, person=person, hair=hair, skin=skin)

    def close(self) -> None:
        """Do nothing: it holds nothing."""


class BisenetParser:
    """A face-parsing network around the face, the default parser where it does not reach.

    Args:
        network: Tells the classes of CelebAMask-HQ in a picture of 512 x 512 px.
    """

    def __init__(self, network: PixelNetwork) -> None:
        self._network = network

    def label(
        self,
        picture: NDArray[np.uint8],
        landmarks: NDArray[np.float32],
        *,
        person: NDArray[np.float32],
        hair: NDArray[np.float32],
        skin: SkinColor,
    ) -> NDArray[np.uint8]:
        """Label a frame; arguments and result as `prepare.parsing.parse_frame`'s."""
        labels = parsing.parse_frame(picture, landmarks, person=person, hair=hair, skin=skin)
        shape = (picture.shape[0], picture.shape[1])
        to_window = face_window(landmarks)
        window = cv2.warpAffine(
            picture, to_window, (FACE_SIDE, FACE_SIDE),
            flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        found = merged(self._network.probabilities(np.asarray(window, dtype=np.uint8)))
        said = _laid_back(found, to_window, shape).argmax(axis=0).astype(np.uint8)
        # CelebAMask-HQ's neck goes on over bare shoulders; the window's edge would cut it there.
        shoulder = ~neck_mask(parsing.frame_places(landmarks, shape))
        said[shoulder & (said == SemanticClass.NECK)] = SemanticClass.TORSO
        heard = (said != SemanticClass.BACKGROUND) & (person >= 0.5)
        return np.where(heard, said, labels)

    def close(self) -> None:
        """Do nothing: memory is freed with the network."""


class MulticlassParser:
    """A network for hair, skin and clothes; the inside of the face comes from landmarks.

    Args:
        network: Tells `SelfieClass` in a whole frame.
    """

    def __init__(self, network: PixelNetwork) -> None:
        self._network = network

    def label(
        self,
        picture: NDArray[np.uint8],
        landmarks: NDArray[np.float32],
        *,
        person: NDArray[np.float32],
        hair: NDArray[np.float32],
        skin: SkinColor,
    ) -> NDArray[np.uint8]:
        """Label a frame; arguments and result as `prepare.parsing.parse_frame`'s."""
        labels = parsing.parse_frame(picture, landmarks, person=person, hair=hair, skin=skin)
        places = parsing.frame_places(landmarks, (picture.shape[0], picture.shape[1]))
        found = self._network.probabilities(picture).argmax(axis=0)
        oval = oval_mask(landmarks, labels.shape)
        # Nothing covers a face but a fringe, side-burns - and what landmarks cannot see.
        fringe = (places.b > parsing.FRINGE_BOTTOM) | (np.abs(places.a) > parsing.SIDEBURN)
        outside = ~oval & ~np.isin(labels, FEATURES)
        bare = (found == SelfieClass.BODY_SKIN) | (found == SelfieClass.FACE_SKIN)
        said = labels.copy()
        said[outside & bare] = _skin_by_place(places)[outside & bare]
        said[oval & bare & (labels == SemanticClass.HAIR)] = SemanticClass.SKIN
        said[outside & (found == SelfieClass.CLOTHES)] = SemanticClass.TORSO
        covering = (outside | (oval & fringe)) & ~np.isin(labels, FEATURES)
        said[covering & (found == SelfieClass.HAIR)] = SemanticClass.HAIR
        return np.where(person >= 0.5, said, np.uint8(SemanticClass.BACKGROUND))

    def close(self) -> None:
        """Stop the network's threads, if it has any."""
        if isinstance(self._network, SelfieNetwork):
            self._network.close()


def face_window(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Place BiSeNet's square: upright and centred on the face as CelebA-HQ's pictures are, wider.

    Source: Karras et al. 2018 (arXiv:1710.10196), appendix C, where the square's side is the larger
    of 4 distances between the eyes and 3.6 between eyes and mouth.

    Args:
        landmarks: px. Shape (478, 3).

    Returns:
        The affine map (OpenCV's pixel numbering) from the frame to 512 x 512 px. Shape (2, 3).
    """
    points = landmarks[:, :2].astype(np.float64)
    # The person's own left eye, which is the picture's right one.
    left, right = (points[eye].mean(axis=0) for eye in face_regions().eyes)
    eyes, mouth = (left + right) / 2, points[list(MOUTH_CORNERS)].mean(axis=0)
    apart, down = left - right, mouth - eyes
    side = FACE_MARGIN * max(4 * np.hypot(*apart), 3.6 * np.hypot(*down))
    # Where both say that across is: along the eyes, and a quarter turn from down.
    across = apart + np.array([down[1], -down[0]])
    across /= np.hypot(*across)
    turn = np.array([across, [-across[1], across[0]]]) * FACE_SIDE / side
    # OpenCV numbers pixel centres from 0, we number them from 0.5.
    shift = turn @ (0.5 - (eyes + 0.1 * down)) + FACE_SIDE / 2 - 0.5
    return np.column_stack((turn, shift))


def merged(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Merge CelebAMask-HQ's classes into ours; what tells us nothing counts as background.

    Args:
        probabilities: In the order of `CelebAMaskClass`. Shape (19, height, width).

    Returns:
        In the order of `SemanticClass`; they sum to what the arguments sum to. Shape (11, height,
        width).
    """
    belongs = np.zeros((SEMANTIC_CLASSES, len(CelebAMaskClass)), dtype=np.float32)
    for theirs in CelebAMaskClass:
        belongs[CELEBAMASK_TO_SEMANTIC.get(theirs, SemanticClass.BACKGROUND), theirs] = 1
    flat = probabilities.reshape(len(CelebAMaskClass), -1)
    return np.asarray((belongs @ flat).reshape(SEMANTIC_CLASSES, *probabilities.shape[1:]))


def _laid_back(
    planes: NDArray[np.float32], to_window: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Bring what was seen in a window back to the frame; 0 outside of it."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    back = [cv2.warpAffine(plane, to_window, shape[::-1], flags=flags) for plane in planes]
    return np.asarray(np.stack(back))


def oval_mask(landmarks: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Mark the inside of the face oval. Shape (478, 3), px -> (height, width)."""
    canvas = np.zeros(shape[:2], dtype=np.uint8)
    # OpenCV numbers pixel centres from 0 and takes 1/256 px as its finest unit.
    corners = np.round((landmarks[face_regions().oval, :2] - 0.5) * 256).astype(np.int32)
    cv2.fillPoly(canvas, [corners], 1, shift=8)
    return canvas > 0


def neck_mask(places: parsing.FramePlaces) -> NDArray[np.bool_]:
    """Mark where bare skin below the face may be neck; it narrows towards the chest.

    Wider than the default parser's, which must guess from colors what is skin.
    """
    below = np.minimum(places.b - parsing.NECK_MIDDLE, 0)
    below /= parsing.NECK_MIDDLE - parsing.NECK_BOTTOM
    return np.asarray((places.a / parsing.EAR_REACH) ** 2 + below**2 < 1)


def _skin_by_place(places: parsing.FramePlaces) -> NDArray[np.uint8]:
    """What bare skin outside the face oval is, by where it is on a person."""
    reach, b = np.abs(places.a) < parsing.EAR_REACH, places.b
    labels = np.full(b.shape, SemanticClass.TORSO, dtype=np.uint8)
    labels[neck_mask(places)] = SemanticClass.NECK
    labels[reach & (b >= parsing.EAR_BOTTOM)] = SemanticClass.EAR
    labels[reach & (b >= parsing.EAR_TOP)] = SemanticClass.SKIN
    return labels


def _bisenet() -> Parser:
    # Late: PyTorch takes seconds to import, and the other parsers need none.
    from sspnerf.perception.bisenet import FaceParsingNetwork

    return BisenetParser(FaceParsingNetwork(model_path(BISENET_MODEL)))


def _multiclass() -> Parser:
    return MulticlassParser(SelfieNetwork(model_path(MULTICLASS_MODEL)))


_PARSERS: Mapping[str, tuple[Callable[[], Parser], tuple[str, ...]]] = MappingProxyType(
    {
        "landmarks": (LandmarkParser, ()),
        "bisenet": (_bisenet, (BISENET_MODEL,)),
        "multiclass": (_multiclass, (MULTICLASS_MODEL,)),
    }
)


def parser_by_name(name: str) -> Parser:
    """Make a parser; its network is read, and downloaded where it is not there yet.

    Args:
        name: One of `PARSERS`.

    Raises:
        UsageError: If there is no such parser.
        SspnerfError: If its model file cannot be had or read.
    """
    return _entry(name)[0]()


def parser_models(name: str) -> tuple[str, ...]:
    """Name the model files that a clip parsed so needs: keys of `perception.models.MODEL_FILES`.

    Args:
        name: One of `PARSERS`.

    Raises:
        UsageError: If there is no such parser.
    """
    return BASE_MODELS + _entry(name)[1]


def _entry(name: str) -> tuple[Callable[[], Parser], tuple[str, ...]]:
    if name not in _PARSERS:
        raise UsageError(f"parser is {name}; expected one of: {', '.join(PARSERS)}")
    return _PARSERS[name]
