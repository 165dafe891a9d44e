"""What single stages find out and later ones need, besides arrays; kept in clip.json."""

from pydantic import BaseModel, ConfigDict

from sspnerf.data.manifest import Camera, SpeechFeature
from sspnerf.prepare.framing import Box


class Found(BaseModel):
    """Base of what a stage finds out; small, and the same after it was written and read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Found):
    """Of a stage that leaves arrays only."""


class Take(Found):
    """The stage `decode`: what was filmed."""

    frames: int
    frame_rate_hz: float
    source_width: int
    """px, upright."""
    source_height: int
    """px, upright."""
    crop: Box
    """Square of the source picture."""
    cuts: tuple[int, ...]
    """First frames after a cut that pictures alone show."""
    has_sound: bool
    faces: int
    """How many different faces were seen."""
    speaker: str
    """Why this one is followed, in words."""
    face: tuple[float, float, float, float]
    """Where it usually is, source px: x0, y0, x1, y1."""


class Faces(Found):
    """The stage `landmarks`."""

    lost: int
    """Frames without a face."""
    cuts: tuple[int, ...]
    """First frames after a cut."""


class Track(Found):
    """The stage `tracking`."""

    reference_frame: int
    """In which the head's and the torso's poses agree by definition."""
    camera: Camera
    reprojection_px: float
    """Root mean square distance of rigid landmarks from where their vertices appear."""
    is_focal_estimated: bool
    """False if the focal length is the one that MediaPipe assumes."""
    focal_evidence: float
    """Share by which the best focal length lowers the squared reprojection error."""
    repeated: int
    """Frames that show the picture of the frame before."""


class TorsoTrack(Found):
    """The stage `torso`."""

    is_seen: bool
    """False where the torso could not be aligned and follows the head."""
    mean_confidence: float


class Sound(Found):
    """The stage `speech`."""

    has_speech: bool
    offset_s: float | None = None
    """How late the sound is against the lips; None where that is not known."""
    correlation: float = 0.0
    """Pearson's r of lips and loudness at the best offset, known or not."""
    why_unknown: str = ""
    """Why the offset is not known, in words."""
    corrected: bool = False
    """Whether the sound was shifted by it."""


class Features(Found):
    """The stage `features`."""

    features: dict[str, SpeechFeature]


class Checked(Found):
    """The stage `checks`: how far the clip can be trusted; more is in prepare.html."""

    face_height_px: float
    """From the top of the forehead to the chin, usually."""
    farthest_turn_deg: float
    """Between the face's direction and the optical axis."""
    steadier_rotation: float | None = None
    """Second difference of what was seen / of the clip's poses; None where that is gone."""
    steadier_sideways: float | None = None
    steadier_depth: float | None = None
    lag_frames: float | None = None
    """By how many frames the clip's poses are late."""
    flicker: float | None
    """Share of the person's pixels whose label changes without motion."""
    camera_shift: float | None
    """How far the background ever lies from its place, as a share of the picture's side."""
    light_change: float | None
    """By how much its light ever changes, as a share."""
    remarks: tuple[str, ...] = ()
    """What is good to know and no reason to warn."""
