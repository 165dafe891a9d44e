"""What is not as it should be, in plain words: from measures of a clip to remarks.

Thresholds are such that clips which train well are left in peace: a remark that is always there is
not read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.prepare.measures import SOUND_BLOCK_S, FaceBox
from sspnerf.prepare.stretches import find_stretches, moment, when_said

# A face that sticks out of the picture by so much of its height has left it.
OUTSIDE = 0.01
# Of all frames may be without a face before that is serious.
FEW_LOST = 0.05
# A face turned further than this shows one side only, degrees.
FAR_TURN_DEG = 40.0
# Landmarks fit the face at rest to .2 to .5 % of its height; frames up to 1.6 % in good clips.
POOR_FIT, POOR_FRAME = 0.012, 0.025
# Below, the torso's pose is hardly better than a guess.
LOW_CONFIDENCE, OFTEN_LOW = 0.3, 0.3
# A face lower than this shows no teeth, px.
SMALL_FACE = 64.0
# The face should have so many px of its height.
GOOD_FACE = 120.0
# Mean gray of the face's skin, of 255, and share of it that is white.
DARK, BURNT = 55.0, 0.1
# Shares by which the background may move and change its light; levels by which it may change.
CAMERA_MOVES, LIGHT_CHANGES, BACKGROUND_CHANGES = 0.005, 0.1, 10.0
# Parts of the face that look so much unlike all other times; against 2.5 times what is usual.
STRANGE, STRANGE_USUAL = 3.5, 2.5
# Lips that speak open and shut by .035 to .09 of the face's height.
MOUTH_MOVES = 0.012
# Quieter than the loudest twentieth by so much is silence, dB; so long, it is worth a word, s.
SILENCE_BELOW_DB, QUIET_DB, LONG_SILENCE_S = 38.0, -50.0, 3.0
MUCH_SILENCE = 0.3
# Blocks of sound that are cut off: some happen.
OFTEN_CUT_OFF = 0.01
# Share of the person's pixels whose label changes without motion.
FLICKERS = 0.04
# Less than this teaches few sounds, s.
SHORT_S = 15.0
# The video's own pixels for one of the clip's.
ENLARGED = 0.75


class Remark(NamedTuple):
    """Something to know about a clip."""

    about: str
    """Part of the report that shows it."""
    sentence: str
    advice: str
    """What to do about it."""
    is_serious: bool
    """Whether it should be looked at before training."""
    stretches: tuple[range, ...] = ()
    """Frames in which it is so; empty where it is about the whole clip."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured on a clip; see `measures` and `picture_measures` for the definitions."""

    frame_rate_hz: float
    size: int
    """Side of the frames, px."""
    crop_side: int
    """Side of the crop in the video, px."""
    cuts: tuple[int, ...]
    valid: NDArray[np.bool_]
    face: FaceBox
    turned_deg: NDArray[np.float64]
    error_px: NDArray[np.float64]
    opening: NDArray[np.float64]
    """Of the lips, share of the face's height. Shape (frames,)."""
    torso_confidence: NDArray[np.float64] | None
    """None where the torso cannot be seen at all."""
    sampled: NDArray[np.int64]
    """Frames whose pictures were looked at. Shape (samples,)."""
    level: NDArray[np.float64]
    """Gray of the face. Shape (samples,)."""
    burnt: NDArray[np.float64]
    camera_shift: NDArray[np.float64]
    light: NDArray[np.float64]
    background_change: NDArray[np.float64]
    patched: NDArray[np.int64]
    """Frames whose faces were compared with each other. Shape (patches,)."""
    strangeness: NDArray[np.float64]
    flicker: float | None
    """None where no frames follow each other."""
    loudness_db: NDArray[np.float64] | None = None
    """In blocks of `SOUND_BLOCK_S`; None without sound."""
    cut_off: NDArray[np.bool_] | None = None

    @property
    def frames(self) -> int:
        """Length of the clip."""
        return len(self.valid)

    @property
    def face_height(self) -> float:
        """Usual height of the face, px."""
        seen = self.face.height[self.valid]
        return float(np.median(seen)) if len(seen) else 0.0


def all_remarks(measured: Measured) -> list[Remark]:
    """Say what is to be said about a clip, the serious things first."""
    judges = (_place, _track, _torso, _picture, _background, _before_face, _mouth, _sound, _length)
    found = [remark for judge in judges for remark in judge(measured)]
    return sorted(found, key=lambda remark: not remark.is_serious)


# --- judges ---------------------------------------------------------------------------------------


def _place(of: Measured) -> Iterator[Remark]:
    """Where the head is, and how it is turned."""
    outside = find_stretches(of.valid & (of.face.outside > OUTSIDE), of.frame_rate_hz)
    if outside:
        share = sum(map(len, outside)) / of.frames
        when = "most of the time" if share > 0.5 else _since(outside, of)
        yield Remark(
            "head", f"the head leaves the frame {when}",
            "leave these parts out of the video, film wider, or give another --crop",
            is_serious=True, stretches=outside,
        )  # fmt: skip
    lost = find_stretches(~of.valid, of.frame_rate_hz, least_s=0)
    if lost:
        yield Remark(
            "head", f"no face is found {when_said(lost, of.frames, of.frame_rate_hz)}",
            "these frames are not trained on; if there are many, look at the preview there",
            is_serious=bool((~of.valid).mean() > FEW_LOST), stretches=lost,
        )  # fmt: skip
    far = find_stretches(of.valid & (of.turned_deg > FAR_TURN_DEG), of.frame_rate_hz)
    if far:
        most = max(float(of.turned_deg[part].max()) for part in far)
        yield Remark(
            "head",
            f"the face is turned away by up to {most:.0f} degrees "
            f"{when_said(far, of.frames, of.frame_rate_hz)}",
            "few frames show this side: the portrait will not turn so far; cut these parts out if "
            "the mesh slides off the face there",
            is_serious=True, stretches=far,
        )  # fmt: skip


def _track(of: Measured) -> Iterator[Remark]:
    """How well the landmarks fit one face."""
    if not of.valid.any():
        return
    error = of.error_px[of.valid]
    usual = float(np.median(error))
    if usual > POOR_FIT * of.face_height:
        yield Remark(
            "fit", f"the landmarks fit the face at rest poorly: they are off by {usual:.1f} px",
            "look whether the mesh lies on the face; blur, glasses' reflections and low light make "
            "landmarks unsure",
            is_serious=True,
        )  # fmt: skip
        return
    limit = max(POOR_FRAME * of.face_height, 3 * usual)
    poor = find_stretches(of.valid & (of.error_px > limit), of.frame_rate_hz)
    if poor:
        yield Remark(
            "fit",
            f"the landmarks do not fit the face {when_said(poor, of.frames, of.frame_rate_hz)}",
            "the head's pose is doubtful there: look at the preview, and cut these parts out if "
            "the mesh slides",
            is_serious=True, stretches=poor,
        )  # fmt: skip


def _torso(of: Measured) -> Iterator[Remark]:
    """Whether the torso's pose is known."""
    if of.torso_confidence is None:
        return
    low = of.torso_confidence < LOW_CONFIDENCE
    guessed = find_stretches(low, of.frame_rate_hz, least_s=0.3)
    if guessed:
        yield Remark(
            "torso",
            f"the torso's pose is a guess {when_said(guessed, of.frames, of.frame_rate_hz)}",
            "arms before the chest or plain cloth hide how it moves; the shoulders will be blurred "
            "if this is often so",
            is_serious=bool(low.mean() > OFTEN_LOW), stretches=guessed,
        )  # fmt: skip


def _picture(of: Measured) -> Iterator[Remark]:
    """Light on the face, and its size."""
    level, burnt = _usual(of.level), _usual(of.burnt)
    if level < DARK:
        yield Remark("picture", f"the picture is dark: the face has {level:.0f} of 255 levels",
                     "film with more light from the front", is_serious=True)  # fmt: skip
    if burnt > BURNT:
        white = f"{100 * burnt:.0f} % of the skin is white"
        yield Remark("picture", f"the face is overexposed: {white}",
                     "film with less light, or a shorter exposure", is_serious=True)  # fmt: skip
    height = of.face_height
    if 0 < height < SMALL_FACE:
        larger = min(1024, of.crop_side, int(-(-of.size * GOOD_FACE / height // 64) * 64))
        can_be = larger >= 1.25 * of.size
        yield Remark(
            "picture", f"the face is {height:.0f} px high",
            f"prepare again with --size {larger}" if can_be else "film closer",
            is_serious=True,
        )  # fmt: skip
    if of.crop_side < ENLARGED * of.size:
        yield Remark(
            "picture", f"the video has {of.crop_side} px where the clip has {of.size} px",
            f"--size {max(32, of.crop_side // 32 * 32)} shows as much, and trains faster",
            is_serious=False,
        )  # fmt: skip
    if of.flicker is not None and of.flicker > FLICKERS:
        yield Remark(
            "labels", f"the labels flicker: {100 * of.flicker:.1f} % of the person's pixels",
            "look at the labels' borders in the preview; more light and less blur help",
            is_serious=True,
        )  # fmt: skip


def _background(of: Measured) -> Iterator[Remark]:
    """What changes although it should stand still."""
    kinds = (
        ("the camera moves", of.camera_shift, CAMERA_MOVES, "of the picture's width",
         "film with a tripod: what moves behind the person ends up in the background and at the "
         "person's edge"),
        ("the light changes", of.light, LIGHT_CHANGES, "",
         "fix exposure and white balance of the camera, and keep to lamps that do not change"),
    )  # fmt: skip
    moves = False
    for what, values, limit, unit, advice in kinds:
        size = np.abs(np.nan_to_num(values))
        found = _sampled_stretches(size > limit, of.sampled, of.frames)
        if found:
            moves |= what == "the camera moves"
            by = f"by up to {100 * size.max():.1f} % {unit}".strip()
            when = when_said(found, of.frames, of.frame_rate_hz)
            yield Remark("picture", f"{what} {by} {when}", advice, True, found)
    changed = np.nan_to_num(of.background_change) > BACKGROUND_CHANGES
    found = _sampled_stretches(changed, of.sampled, of.frames)
    if found and not moves:
        yield Remark(
            "picture",
            f"the background changes {when_said(found, of.frames, of.frame_rate_hz)}",
            "people, screens or curtains that move behind the person end up at the person's edge; "
            "film before a wall",
            is_serious=True, stretches=found,
        )  # fmt: skip


def _before_face(of: Measured) -> Iterator[Remark]:
    """Hands, microphones, hair."""
    if not len(of.strangeness):
        return
    limit = max(STRANGE, STRANGE_USUAL * float(np.percentile(of.strangeness, 75)))
    # A moment with shut eyes and a turned head is rare too.
    found = _sampled_stretches(of.strangeness > limit, of.patched, of.frames, least=3)
    if found:
        yield Remark(
            "picture",
            "something seems to be before the face, hands perhaps, "
            f"{when_said(found, of.frames, of.frame_rate_hz)}",
            "look at the preview there; cut these parts out if so, since labels know no hands",
            is_serious=True, stretches=found,
        )  # fmt: skip


def _mouth(of: Measured) -> Iterator[Remark]:
    """Whether somebody speaks."""
    seen = of.opening[of.valid & np.isfinite(of.opening)]
    if len(seen) < 2 * of.frame_rate_hz:
        return
    low, high = np.percentile(seen, (5, 95))
    if high - low < MOUTH_MOVES:
        yield Remark(
            "sound", f"the mouth hardly moves: by {100 * (high - low):.1f} % of the face's height",
            "train on a video in which the person speaks",
            is_serious=True,
        )  # fmt: skip


def _sound(of: Measured) -> Iterator[Remark]:
    """Silence, and sound that was recorded too loud."""
    if of.loudness_db is None or not len(of.loudness_db):
        return
    blocks = len(of.loudness_db)
    loud = float(np.percentile(of.loudness_db, 95))
    if loud < QUIET_DB:
        yield Remark("sound", "the sound is silent", "record the voice; without it nothing is "
                     "learned of how the mouth moves", is_serious=True)  # fmt: skip
        return
    quiet = of.loudness_db < max(QUIET_DB, loud - SILENCE_BELOW_DB)
    rate = 1 / SOUND_BLOCK_S
    silent = find_stretches(quiet, rate, least_s=LONG_SILENCE_S, join_s=0)
    if silent:
        share = sum(map(len, silent)) / blocks
        yield Remark(
            "sound", f"silence {when_said(silent, blocks, rate)}",
            "some of it is good, since a mouth at rest is learned from it; cut long ones out",
            is_serious=share > MUCH_SILENCE, stretches=_as_frames(silent, of),
        )  # fmt: skip
    if of.cut_off is not None and of.cut_off.any():
        found = find_stretches(of.cut_off, rate, least_s=0)
        yield Remark(
            "sound", f"the sound clips: it is too loud {when_said(found, blocks, rate)}",
            "record with less gain; speech features of cut-off sound are wrong",
            is_serious=bool(of.cut_off.mean() > OFTEN_CUT_OFF), stretches=_as_frames(found, of),
        )  # fmt: skip


def _length(of: Measured) -> Iterator[Remark]:
    """How much there is."""
    seconds = of.frames / of.frame_rate_hz
    if seconds < SHORT_S:
        yield Remark(
            "made", f"the clip lasts only {seconds:.1f} s",
            "one to five minutes teach the portrait more sounds and turns of the head",
            is_serious=False,
        )  # fmt: skip


# --- stretches -----------------------------------------------------------------------------------


def _since(stretches: Sequence[range], of: Measured) -> str:
    """Say when something begins, and when it ends if it happens once."""
    rate = of.frame_rate_hz
    if len(stretches) == 1:
        part = stretches[0]
        until = f", until {moment(part.stop / rate)}" if part.stop < of.frames else ""
        return f"at {moment(part.start / rate)}{until}"
    points = [range(part.start, part.start + 1) for part in stretches]
    return when_said(points, of.frames + 1, rate)


def _sampled_stretches(
    where: NDArray[np.bool_], sampled: NDArray[np.int64], frames: int, *, least: int = 2
) -> tuple[range, ...]:
    """Find where something lasts that is known of some frames only; `least` of them at least."""
    found = find_stretches(where, 1.0, least_s=least, join_s=1)
    edges = np.append(sampled, frames)
    return tuple(range(int(edges[part.start]), int(edges[part.stop])) for part in found)


def _as_frames(blocks: Sequence[range], of: Measured) -> tuple[range, ...]:
    """Turn blocks of sound into frames of the picture."""
    ratio = SOUND_BLOCK_S * of.frame_rate_hz
    made = [range(int(part.start * ratio), round(part.stop * ratio)) for part in blocks]
    return tuple(range(part.start, min(part.stop, of.frames)) for part in made)


def _usual(values: NDArray[np.float64]) -> float:
    """Median of what is known; NaN if nothing is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
