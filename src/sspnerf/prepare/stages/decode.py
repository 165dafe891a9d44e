"""Stage `decode`: count the frames, look for cuts, choose whom to follow and the crop around."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.errors import MediaError
from sspnerf.media.audio import read_waveform
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ
from sspnerf.media.video import VideoInfo, probe_video, resampled_pictures
from sspnerf.perception.landmarks import FaceLandmarker, FaceObservation
from sspnerf.perception.models import model_hashes, model_path
from sspnerf.prepare.cuts import CutFinder
from sspnerf.prepare.found import Take
from sspnerf.prepare.framing import choose_crop
from sspnerf.prepare.speaker import Speaker, choose_speaker
from sspnerf.prepare.sync import loudness_at
from sspnerf.prepare.workspace import Stage, Workspace

# Pictures looked at to choose the speaker and the crop.
FRAMING_PICTURES = 20
FRAMING_EVERY_S = 0.5
# Cuts are looked for in pictures this large, px.
THUMBNAIL = 160


class _Survey(NamedTuple):
    """What the whole video shows from afar."""

    frames: int
    cuts: CutFinder
    looked: list[int]
    """Frames that were searched for faces."""
    faces: list[list[FaceObservation]]
    """All faces of each of these."""


def run(work: Workspace) -> Take:
    """Read the whole video once, without looking closely."""
    info = probe_video(work.video)
    rate = work.settings.frame_rate_hz or info.frame_rate_hz
    # A sound that cannot be read is better known now than after minutes of work.
    silence = np.zeros(1, np.float32)
    waveform = read_waveform(work.video, SPEECH_SAMPLE_RATE_HZ) if info.has_sound else silence
    work.create("sound", waveform.shape, np.float32)[:] = waveform
    seen = _survey(work, info, rate)
    scores = seen.cuts.scores()
    work.create("cut_scores", scores.shape, np.float64)[:] = scores
    _check_length(work, info, seen.frames / rate)
    speaker = _speaker(work, seen, waveform if info.has_sound else None, rate)
    crop = work.settings.crop or choose_crop(
        info.width, info.height, [face.landmarks for face in speaker.sampled if face]
    )
    x0, y0, x1, y1 = (round(float(edge), 1) for edge in speaker.box)
    return Take(
        frames=seen.frames, frame_rate_hz=rate, source_width=info.width, source_height=info.height,
        crop=crop, cuts=seen.cuts.cuts(), has_sound=info.has_sound, faces=speaker.faces,
        speaker=speaker.reason, face=(x0, y0, x1, y1),
    )  # fmt: skip


def _survey(work: Workspace, info: VideoInfo, rate: float) -> _Survey:
    """Count frames, look for cuts, and for faces in some pictures."""
    about = max(1, round(info.duration_s * rate))
    # Some close to each other, in which lips can be followed; some through the whole video.
    close, spread = max(1, round(FRAMING_EVERY_S * rate)), max(1, about // FRAMING_PICTURES)
    close = min(close, spread)
    cuts, frames = CutFinder(), 0
    looked: list[int] = []
    faces: list[list[FaceObservation]] = []
    with FaceLandmarker(model_path("face_landmarker.task"), video=False) as landmarker:
        for index, picture in enumerate(resampled_pictures(work.video, rate)):
            frames = index + 1
            cuts.push(picture.thumbnail(THUMBNAIL))
            is_wanted = index % close == 0 and len(looked) < FRAMING_PICTURES
            is_wanted |= index % spread == 0 and len(looked) < 2 * FRAMING_PICTURES
            # A face that shows up late is still waited for.
            if is_wanted or (index % close == 0 and not any(faces)):
                looked.append(index)
                faces.append(landmarker.observe_all(picture.pixels()))
            work.progress("decode", frames, max(about, frames))
    return _Survey(frames, cuts, looked, faces)


def _speaker(
    work: Workspace, seen: _Survey, waveform: NDArray[np.float32] | None, rate: float
) -> Speaker:
    if not any(seen.faces):
        raise MediaError(
            f"{work.video} shows no face in any of {len(seen.looked)} frames looked at",
            "film one person, facing the camera, lit from the front",
        )
    sampled = seen.faces
    if work.settings.crop is not None:
        sampled = [[face for face in faces if _is_inside(face, work)] for faces in sampled]
        if not any(sampled):
            raise MediaError(
                f"{work.video} shows no face in its crop {work.settings.crop}",
                "give another --crop, or none",
            )
    loudness = None if waveform is None else loudness_at(waveform, np.array(seen.looked), rate)
    speaker = choose_speaker(sampled, loudness)
    if speaker.faces > 1:
        x0, y0, x1, y1 = map(round, speaker.box.tolist())
        work.note_warning(
            f"{speaker.faces} faces were seen; followed is the one at {x0},{y0},{x1},{y1}: "
            f"{speaker.reason}"
        )
    return speaker


def _is_inside(face: FaceObservation, work: Workspace) -> bool:
    """Say whether the middle of a face is in the crop that was asked for."""
    assert work.settings.crop is not None  # noqa: S101
    x0, y0, x1, y1 = work.settings.crop
    x, y = face.landmarks[:, :2].mean(axis=0)
    return bool(x0 <= x < x1 and y0 <= y < y1)


def _check_length(work: Workspace, info: VideoInfo, seen_s: float) -> None:
    """Say so where a file ends before it claims to; an MP4 that is cut off was refused before."""
    if info.declared_s is not None and seen_s < 0.95 * info.declared_s - 0.5:
        work.note_warning(
            f"{work.video.name} ends after {seen_s:.1f} s and claims to last "
            f"{info.declared_s:.1f} s; it may be cut off"
        )


STAGE = Stage(
    run=run,
    found=Take,
    settings=lambda settings: {
        "frame_rate_hz": settings.frame_rate_hz,
        "models": model_hashes(("face_landmarker.task",)),
        "crop": None if settings.crop is None else ",".join(map(str, settings.crop)),
    },
    scratch=("sound", "cut_scores"),
)
