"""Stage `landmarks`: look at every picture once: frame, face, person and hair as networks see them.

The landmarker follows the face from picture to picture. So that chunks can be looked at side by
side, and a run which was stopped goes on as if it had not been, it forgets what it followed before
each chunk and starts a few pictures ahead.
"""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sspnerf.errors import MediaError
from sspnerf.media.video import Picture, resampled_pictures
from sspnerf.perception.landmarks import BLENDSHAPES, LANDMARKS, FaceLandmarker, FaceObservation
from sspnerf.perception.models import model_hashes, model_path
from sspnerf.prepare.chunks import over_chunks, split_into_chunks
from sspnerf.prepare.cuts import LIKELY_SCORE, jumps
from sspnerf.prepare.found import Faces, Take
from sspnerf.prepare.framing import crop_picture
from sspnerf.prepare.masks import (
    HAIR_KEPT_SIDE,
    PERSON_SIDE,
    HairNetwork,
    PersonNetwork,
    box_around,
    fit,
    hair_every,
    head_box,
    to_bytes,
)
from sspnerf.prepare.observations import Observations
from sspnerf.prepare.parsers import BASE_MODELS
from sspnerf.prepare.speaker import FaceFollower
from sspnerf.prepare.workspace import Stage, Workspace

# Networks see the crop at its own size, up to this; the clip's size may be smaller.
WORK_SIDE = 512
# Frames between fresh starts of the landmarker, and pictures it sees ahead of them to find its
# pace.
CHUNK = 256
WARM_UP = 8
# Pictures that differ by less than this on average, of 255, are one picture shown twice: coding
# leaves 0.02 in such a film, the stillest speaker moves by 0.15. Compared is every n-th pixel.
SAME_PICTURE = 0.03
THINNED = 4
# Looked for where more than one was seen.
MOST_FACES = 4
# Frames on either side of a suspicion that tell whether the face jumps.
JUMP_REACH = 12


def run(work: Workspace) -> Faces:
    """Look at all pictures, on several threads."""
    take = work.found(Take)
    arrays = _Arrays(work, take.frames)
    own: Any = threading.local()
    all_eyes: list[_Eyes] = []

    def look_at(chunk: range) -> None:
        if not hasattr(own, "eyes"):
            own.eyes = _Eyes(work, arrays)
            all_eyes.append(own.eyes)
        own.eyes.look_at(chunk)

    try:
        over_chunks(work, "landmarks", split_into_chunks(take.frames, CHUNK), look_at)
    finally:
        for eyes in all_eyes:
            eyes.close()
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
        self.hair_every = hair_every(work.found(Take).frame_rate_hz)
        looks = -(-frames // self.hair_every)
        self.frames = work.create("frames", (frames, side, side, 3))
        self.observed = Observations(
            work.create("seen_landmarks", (frames, LANDMARKS, 3), np.float32),
            work.create("head_transforms", (frames, 4, 4), np.float64),
            work.create("seen_blendshapes", (frames, BLENDSHAPES), np.float32),
        )
        self.boxes = work.create("hair_boxes", (frames, 3), np.float64)
        self.person = work.create("person", (frames, PERSON_SIDE, PERSON_SIDE), np.uint8)
        self.repeats = work.create("repeats", (frames,), np.bool_)
        self.hair = work.create("hair", (looks, HAIR_KEPT_SIDE, HAIR_KEPT_SIDE), np.uint8)


class _Eyes:
    """What one thread needs to look at pictures: the video, opened, and networks of its own."""

    def __init__(self, work: Workspace, arrays: _Arrays) -> None:
        self._work, self._arrays = work, arrays
        self._take, self._side = work.found(Take), work.settings.size
        self._pictures = _CropReader(work)
        self._face = _OneFace(self._take)
        self._person = PersonNetwork(model_path("selfie_segmentation.tflite"))
        self._hair = HairNetwork(model_path("hair_segmentation.tflite"))

    def look_at(self, chunk: range) -> None:
        """Look at the pictures of one chunk, in order."""
        before: NDArray[np.int16] | None = None
        ahead = range(max(0, chunk.start - WARM_UP), chunk.start)
        self._face.forget()
        box = box_around(self._face.usual_place(self._side))
        for index, picture in self._pictures.between(ahead.start, chunk.stop):
            self._work.check_stop()
            if index in ahead:
                self._face.observe(picture, index)
                continue
            thinned = picture[::THINNED, ::THINNED].astype(np.int16)
            if before is not None and np.abs(thinned - before).mean() < SAME_PICTURE:
                self._repeat(picture, index)
            else:
                box = self._look(picture, index, box)
                before = thinned

    def close(self) -> None:
        """Stop the landmarker's threads."""
        self._face.close()

    def _look(
        self, picture: NDArray[np.uint8], index: int, box: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Look at one picture; returns the square around the head, px of the clip."""
        arrays, scale = self._arrays, self._side / picture.shape[0]
        seen = self._face.observe(picture, index)
        box = head_box(seen.landmarks) * scale if seen else box
        arrays.frames[index] = fit(picture, self._side)
        arrays.observed.put(index, seen, scale=scale)
        arrays.repeats[index] = False
        arrays.boxes[index] = box
        arrays.person[index] = to_bytes(self._person.probability(picture))
        self._look_at_hair(picture, index)
        return box

    def _repeat(self, picture: NDArray[np.uint8], index: int) -> None:
        """Take over what was seen in the frame before, which shows the same picture."""
        arrays = self._arrays
        arrays.frames[index] = fit(picture, self._side)
        arrays.repeats[index] = True
        for array in (*arrays.observed, arrays.boxes, arrays.person):
            array[index] = array[index - 1]
        self._look_at_hair(picture, index)

    def _look_at_hair(self, picture: NDArray[np.uint8], index: int) -> None:
        arrays = self._arrays
        if index % arrays.hair_every == 0:
            box = arrays.boxes[index] * picture.shape[0] / self._side
            hair = self._hair.probability(picture, box)
            arrays.hair[index // arrays.hair_every] = to_bytes(hair)


class _OneFace:
    """Finds the speaker's face in picture after picture; where others were seen, not theirs."""

    def __init__(self, take: Take) -> None:
        self._take = take
        faces = MOST_FACES if take.faces > 1 else 2
        self._landmarker = FaceLandmarker(
            model_path("face_landmarker.task"), video=True, faces=faces
        )
        self._follower: FaceFollower | None = None

    def close(self) -> None:
        self._landmarker.close()

    def forget(self) -> None:
        """Start anew: a picture without a face ends the landmarker's track.

        A new landmarker would do as well, and each costs 10 MB that never come back.
        """
        self._landmarker.observe(np.zeros((64, 64, 3), np.uint8))
        self._follower = None

    def observe(self, picture: NDArray[np.uint8], index: int) -> FaceObservation | None:
        time_s = index / self._take.frame_rate_hz
        if self._take.faces == 1:
            # Asked for one face only, MediaPipe smooths landmarks in time, and they lag.
            return self._landmarker.observe(picture, time_s)
        if self._follower is None or index in self._take.cuts:
            self._follower = FaceFollower(self.usual_place(picture.shape[0]))
        return self._follower.follow(self._landmarker.observe_all(picture, time_s))

    def usual_place(self, side: int) -> NDArray[np.float64]:
        """Box of the face where it usually is, px of the crop. Shape (4,)."""
        x0, y0, x1, _ = self._take.crop
        return (np.array(self._take.face) - (x0, y0, x0, y0)) * side / (x1 - x0)


class _CropReader:
    """Reads the crop of frames at the size in which it is looked at; goes forwards only."""

    def __init__(self, work: Workspace) -> None:
        take = work.found(Take)
        self._crop = take.crop
        self._side = max(work.settings.size, min(take.crop[2] - take.crop[0], WORK_SIDE))
        self._decoded = enumerate(resampled_pictures(work.video, take.frame_rate_hz))
        # What the chunk after the last one may look at again.
        self._recent: deque[tuple[int, Picture]] = deque(maxlen=WARM_UP)

    def between(self, first: int, stop: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Read frames from one on; none of them more than `WARM_UP` before the last one read."""
        for index, picture in [each for each in self._recent if each[0] >= first]:
            yield index, self._cropped(picture)
        if self._recent and self._recent[-1][0] >= stop - 1:
            return
        for index, picture in self._decoded:
            self._recent.append((index, picture))
            if index >= first:
                yield index, self._cropped(picture)
            if index == stop - 1:
                return

    def _cropped(self, picture: Picture) -> NDArray[np.uint8]:
        return fit(crop_picture(picture.pixels(), self._crop), self._side)


STAGE = Stage(
    run=run,
    found=Faces,
    needs=("decode",),
    reads=("cut_scores",),
    settings=lambda settings: {"size": settings.size, "models": model_hashes(BASE_MODELS)},
    leaves=("frames.npy",),
    scratch=(
        "repeats", "seen_landmarks", "head_transforms", "seen_blendshapes", "hair_boxes", "person",
        "hair",
    ),
)  # fmt: skip
