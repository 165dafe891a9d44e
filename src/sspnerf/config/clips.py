"""Settings of the verbs that make clips: `sspnerf prepare` and `sspnerf synth`."""

from dataclasses import dataclass

from sspnerf.config.ranges import check_range

SPEECH_FEATURES = ("logmel",)


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How a video becomes a clip."""

    size: int = 256
    """Side of the square frames, px."""
    frame_rate_hz: float | None = None
    """Frames per second of the clip; the video's own if not given."""
    features: tuple[str, ...] = ("logmel",)
    """Kinds of speech features to compute."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("prepare.size", self.size, 32, 1024)
        check_range("prepare.frame_rate_hz", self.frame_rate_hz, 1, 240)
        unknown = [name for name in self.features if name not in SPEECH_FEATURES]
        if unknown:
            known = ", ".join(SPEECH_FEATURES)
            raise ValueError(f"prepare.features has {unknown[0]}; expected any of: {known}")


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
