"""Stage `landmarks`: look at every picture once: frame, face, person and hair as networks see them.

The landmarker follows the face from picture to picture. So that a run which was stopped goes on as
if it had not been, it starts anew at the beginning of each chunk, a few pictures ahead.
"""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sspnerf.errors import MediaError
from sspnerf.media.video import resampled_frames
from sspnerf.perception.landmarks import BLENDSHAPES, LANDMARKS, FaceLandmarker, FaceObservation
from sspnerf.perception.models import model_path
from sspnerf.prepare.chunks import split_into_chunks, threads
from sspnerf.prepare.cuts import LIKELY_SCORE, jumps
from sspnerf.prepare.found import Faces, Take
from sspnerf.prepare.framing import crop_picture
from sspnerf.prepare.masks import (
    HAIR_KEPT_SIDE,
    PERSON_SIDE,
    HairNetwork,
    PersonNetwork,
    fit,
    head_box,
    to_bytes,
)
from sspnerf.prepare.observations import Observations
from sspnerf.prepare.speaker import FaceFollower
from sspnerf.prepare.workspace import Stage, Workspace

# Networks see the crop at its own size, up to this; the clip's size may be smaller.
WORK_SIDE = 512
# The hair network looks so often; in between, hair keeps its place on the head.
HAIR_EVERY_S = 0.3
# Frames between fresh starts of the landmarker, and pictures it sees ahead of them to find its
# pace.
CHUNK = 256
WARM_UP = 8
# Looked for where more than one was seen.
MOST_FACES = 4
# Frames on either side of a suspicion that tell whether the face jumps.
JUMP_REACH = 12


def run(work: Workspace) -> Faces:
    """Look at all pictures, in order; masks are found beside the landmarks."""
    take = work.found(Take)
    arrays = _Arrays(work, take.frames)
    chunks = split_into_chunks(take.frames, CHUNK)
    left = [chunk for chunk in chunks if not work.is_done(chunk)]
    if left:
        first = max(0, left[0].start - WARM_UP)
        pictures = _work_pictures(work, first=first)
        recent: deque[NDArray[np.uint8]] = deque(maxlen=WARM_UP)
        for _ in range(left[0].start - first):
            recent.append(next(pictures))
        with _MaskNetworks(arrays) as masks:
            for chunk in left:
                _look(work, chunk, pictures, recent, arrays=arrays, masks=masks)
    valid = arrays.observed.valid
    if not valid.any():
        raise MediaError(
            f"{work.video} shows no face in its crop {take.crop}",
            "film one person, facing the camera, lit from the front; or give another --crop",
        )
    lost = int((~valid).sum())
    if lost:
        work.note_warning(f"no face in {lost} of {take.frames} frames; interpolated there")
    return Faces(lost=lost, cuts=_all_cuts(work, arrays.observed))


def _all_cuts(work: Workspace, observed: Observations) -> tuple[int, ...]:
    """Join the cuts that pictures show with those that show in picture and face together."""
    scores = np.asarray(work.array("cut_scores"))
    found = set(work.found(Take).cuts)
    valid = observed.valid
    for frame in np.flatnonzero(scores >= LIKELY_SCORE).tolist():
        # A stretch around it is enough, and a long clip's landmarks need not be in memory.
        near = slice(max(0, frame - JUMP_REACH), frame + JUMP_REACH)
        jumped = jumps(observed.landmarks[near], scores[near], valid=valid[near])
        found |= {near.start + jump for jump in jumped}
    return tuple(sorted(found))


class _Arrays:
    """What this stage leaves, as memory maps."""

    def __init__(self, work: Workspace, frames: int) -> None:
        side = work.settings.size
        self.hair_every = hair_every(work)
        looks = -(-frames // self.hair_every)
        self.frames = work.create("frames", (frames, side, side, 3))
        self.observed = Observations(
            work.create("seen_landmarks", (frames, LANDMARKS, 3), np.float32),
            work.create("head_transforms", (frames, 4, 4), np.float64),
            work.create("seen_blendshapes", (frames, BLENDSHAPES), np.float32),
        )
        self.boxes = work.create("hair_boxes", (frames, 3), np.float64)
        self.person = work.create("person", (frames, PERSON_SIDE, PERSON_SIDE), np.uint8)
        self.hair = work.create("hair", (looks, HAIR_KEPT_SIDE, HAIR_KEPT_SIDE), np.uint8)


def _look(
    work: Workspace,
    chunk: range,
    pictures: Iterator[NDArray[np.uint8]],
    recent: deque[NDArray[np.uint8]],
    *,
    arrays: _Arrays,
    masks: "_MaskNetworks",
) -> None:
    """Look at the pictures of one chunk."""
    take, side = work.found(Take), work.settings.size
    box = arrays.boxes[chunk.start - 1] if chunk.start else np.array([0.0, 0.0, float(side)])
    with _OneFace(take) as face:
        for ahead, picture in enumerate(recent, start=chunk.start - len(recent)):
            face.observe(picture, ahead)
        for index in chunk:
            picture = next(pictures)
            recent.append(picture)
            seen = face.observe(picture, index)
            scale = side / picture.shape[0]
            box = head_box(seen.landmarks) * scale if seen else box
            arrays.boxes[index] = box
            masks.push(picture, box / scale, index)
            arrays.frames[index] = fit(picture, side)
            arrays.observed.put(index, seen, scale=scale)
            work.progress("landmarks", index + 1, take.frames)
    masks.wait()
    work.mark_done(chunk)
    work.release()


class _OneFace:
    """Finds the speaker's face in picture after picture; where others were seen, not theirs."""

    def __init__(self, take: Take) -> None:
        self._take = take
        faces = MOST_FACES if take.faces > 1 else 2
        self._landmarker = FaceLandmarker(
            model_path("face_landmarker.task"), video=True, faces=faces
        )
        self._follower: FaceFollower | None = None

    def __enter__(self) -> "_OneFace":
        return self

    def __exit__(self, *_: object) -> None:
        self._landmarker.close()

    def observe(self, picture: NDArray[np.uint8], index: int) -> FaceObservation | None:
        time_s = index / self._take.frame_rate_hz
        if self._take.faces == 1:
            # Asked for one face only, MediaPipe smooths landmarks in time, and they lag.
            return self._landmarker.observe(picture, time_s)
        if self._follower is None or index in self._take.cuts:
            self._follower = FaceFollower(self._usual_place(picture.shape[0]))
        return self._follower.follow(self._landmarker.observe_all(picture, time_s))

    def _usual_place(self, side: int) -> NDArray[np.float64]:
        """Box of the face where it usually is, px of the crop. Shape (4,)."""
        x0, y0, x1, _ = self._take.crop
        return (np.array(self._take.face) - (x0, y0, x0, y0)) * side / (x1 - x0)


class _MaskNetworks:
    """Runs the mask networks beside the landmarker, a few frames behind it."""

    def __init__(self, arrays: _Arrays) -> None:
        self._arrays = arrays
        self._pool = ThreadPoolExecutor(max(1, threads()))
        self._running: deque[Future[None]] = deque()
        self._own: Any = threading.local()

    def __enter__(self) -> "_MaskNetworks":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def push(self, picture: NDArray[np.uint8], box: NDArray[np.float64], index: int) -> None:
        """Take the next frame, and the square around the head in it, px."""
        self._running.append(self._pool.submit(self._look, picture, box, index))
        while len(self._running) > 2 * threads():
            self._running.popleft().result()

    def wait(self) -> None:
        """Wait until all that was pushed is stored."""
        while self._running:
            self._running.popleft().result()

    def _look(self, picture: NDArray[np.uint8], box: NDArray[np.float64], index: int) -> None:
        if not hasattr(self._own, "person"):
            self._own.person = PersonNetwork(model_path("selfie_segmentation.tflite"))
            self._own.hair = HairNetwork(model_path("hair_segmentation.tflite"))
        self._arrays.person[index] = to_bytes(self._own.person.probability(picture))
        if index % self._arrays.hair_every == 0:
            hair = self._own.hair.probability(picture, box)
            self._arrays.hair[index // self._arrays.hair_every] = to_bytes(hair)


def hair_every(work: Workspace) -> int:
    """Say how many frames lie between two looks at the hair."""
    return max(1, round(HAIR_EVERY_S * work.found(Take).frame_rate_hz))


def _work_pictures(work: Workspace, *, first: int) -> Iterator[NDArray[np.uint8]]:
    """The crop of every frame from one on, at the size in which it is looked at."""
    take = work.found(Take)
    side = max(work.settings.size, min(take.crop[2] - take.crop[0], WORK_SIDE))
    for picture in resampled_frames(work.video, take.frame_rate_hz, first=first):
        yield fit(crop_picture(picture, take.crop), side)


STAGE = Stage(
    run=run,
    found=Faces,
    needs=("decode",),
    settings=lambda settings: {"size": settings.size},
    leaves=("frames.npy",),
    scratch=(
        "seen_landmarks", "head_transforms", "seen_blendshapes", "hair_boxes", "person", "hair",
    ),
)  # fmt: skip
