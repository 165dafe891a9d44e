"""Settings of the verbs that make clips: `sspnerf prepare` and `sspnerf synth`."""

from dataclasses import dataclass
from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec

from sspnerf.config.ranges import check_range

# Features that a published network computes.
LEARNED_FEATURES = ("wav2vec2", "hubert", "whisper")
PARSERS = ("landmarks", "bisenet", "multiclass")
LEAST_CROP = 32
# Features that are computed from any recording; others are brought as files.
COMPUTED_FEATURES = ("logmel", *LEARNED_FEATURES)
SPEECH_FEATURES = (*COMPUTED_FEATURES, "npy")

Box = tuple[int, int, int, int]


def _box(given: list[str]) -> Box:
    """Read x0,y0,x1,y1.

    Raises:
        ValueError: If these are not four whole numbers.
    """
    x0, y0, x1, y1 = map(int, given[0].split(","))
    return x0, y0, x1, y1


# On the command line one word: --crop 100,0,612,512
Crop = Annotated[
    Box,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="X0,Y0,X1,Y1",
        instance_from_str=_box,
        is_instance=lambda value: isinstance(value, tuple) and len(value) == 4,
        str_from_instance=lambda box: [",".join(map(str, box))],
    ),
]


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How a video becomes a clip."""

    size: int = 256
    """Side of the square frames, px."""
    frame_rate_hz: float | None = None
    """Frames per second of the clip; the video's own if not given."""
    crop: Crop | None = None
    """Square of the source picture, x0,y0,x1,y1 in px, end exclusive; chosen if not given."""
    parser: str = "landmarks"
    """What labels the pixels: landmarks, bisenet or multiclass (docs/prepare.md)."""
    fix_sync: bool = False
    """Shift the sound by its estimated offset against the lips."""
    features: tuple[str, ...] = ("logmel",)
    """Kinds of speech features: any of logmel, wav2vec2, hubert, whisper, npy (docs/speech.md)."""
    speech_model: str | None = None
    """Folder or Hugging Face name of the network that hears; the published one if not given."""
    speech_layer: int | None = None
    """Layer of the network whose output is heard; its kind's own choice if not given."""
    feature_file: str | None = None
    """With npy: the features, (feature_frames, dim) or windows (frames, window, dim)."""
    feature_rate_hz: float | None = None
    """With npy: features or windows per second; one per video frame if not given."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("prepare.size", self.size, 32, 1024)
        check_range("prepare.frame_rate_hz", self.frame_rate_hz, 1, 240)
        self._check_crop()
        if self.parser not in PARSERS:
            known = ", ".join(PARSERS)
            raise ValueError(f"prepare.parser is {self.parser}; expected one of: {known}")
        check_range("prepare.speech_layer", self.speech_layer, 0, 1000)
        check_range("prepare.feature_rate_hz", self.feature_rate_hz, 1, 1000)
        self._check_features()

    def _check_crop(self) -> None:
        if self.crop is None:
            return
        x0, y0, x1, y1 = self.crop
        given = ",".join(map(str, self.crop))
        if min(x0, y0) < 0:
            raise ValueError(f"prepare.crop is {given}; expected no number below 0")
        if x1 - x0 != y1 - y0 or x1 - x0 < LEAST_CROP:
            raise ValueError(
                f"prepare.crop is {given}; expected x0,y0,x1,y1 of a square of {LEAST_CROP} px or "
                "more"
            )

    def _check_features(self) -> None:
        """Refuse kinds that are not known, and settings that no kind reads or several would."""
        if not self.features:
            raise ValueError("prepare.features names none; expected one or more, such as logmel")
        unknown = [name for name in self.features if name not in SPEECH_FEATURES]
        if unknown:
            known = ", ".join(SPEECH_FEATURES)
            raise ValueError(f"prepare.features has {unknown[0]}; expected any of: {known}")
        learned = [name for name in self.features if name in LEARNED_FEATURES]
        for setting in ("speech_model", "speech_layer"):
            if getattr(self, setting) is not None and len(learned) != 1:
                raise ValueError(
                    f"prepare.{setting} is given and features are {', '.join(self.features)}; "
                    f"expected one of {', '.join(LEARNED_FEATURES)} among them"
                )
        if ("npy" in self.features) != (self.feature_file is not None):
            given = "not given" if self.feature_file is None else self.feature_file
            raise ValueError(
                f"prepare.feature_file is {given} and features are {', '.join(self.features)}; "
                "expected a file and npy, or neither"
            )
        if self.feature_rate_hz is not None and self.feature_file is None:
            raise ValueError(
                f"prepare.feature_rate_hz is {self.feature_rate_hz:g}; expected a feature_file too"
            )


@dataclass(frozen=True, kw_only=True)
class SynthConfig:
    """The synthetic speaker: what is said, and how it is filmed."""

    text: str = ""
    """What to say, repeated or cut to `seconds`; empty reads a built-in passage."""
    voice: str = "en"
    """Voice or language of espeak-ng: en, en-us, de, en+f3 and so on."""
    seed: int = 0
    """Seed of the built-in passage's order, of the movements and of the voice's unevenness."""
    size: int = 96
    """Width and height of the picture, px."""
    seconds: float = 8.0
    """Length of the take, seconds."""
    frame_rate_hz: float = 25.0
    """Frames per second."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("synth.seed", self.seed, 0, 2**31 - 1)
        check_range("synth.size", self.size, 16, 1024)
        check_range("synth.seconds", self.seconds, 0.2, 3600)
        check_range("synth.frame_rate_hz", self.frame_rate_hz, 1, 120)
