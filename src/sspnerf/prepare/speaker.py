"""Who of several people speaks, and where they are in each frame.

A track is one face through the sampled pictures, joined by place and size. The speaker is the one
whose lips follow the sound, if the pictures can tell; else the one who is there most and largest.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.perception.landmarks import FaceObservation
from sspnerf.prepare.sync import lip_opening

# x0, y0, x1, y1 in px, end exclusive.
FaceBox = NDArray[np.float64]

# A face has gone on if its center moved by less than so many of its heights, and its size changed
# by less than this factor. Between sampled pictures (half a second or more) it may go further.
STEP_FACES, STEP_SCALE = 0.5, 1.5
SAMPLED_STEP_FACES, SAMPLED_STEP_SCALE = 1.0, 1.8
# A lost face may be found so much further away for every frame it was lost, in faces.
LOST_STEP_FACES = 0.05
# ... up to so many faces in all.
FARTHEST_FACES = 1.5
# Tracks seen in a smaller share of the pictures than this of the longest do not compete.
LEAST_SHARE = 0.4
# One face is clearly the larger one when its area is so many times the other's.
CLEARLY_LARGER = 1.4
# Lips follow the sound when their correlation with it, over so many pictures at least, is so high,
# and so much higher than any other face's.
LIP_PICTURES, LIP_CORRELATION, LIP_MARGIN = 8, 0.5, 0.4


class Speaker(NamedTuple):
    """Who was chosen, and why."""

    box: FaceBox
    """Median box of the face, px of the pictures: x0, y0, x1, y1. Shape (4,)."""
    faces: int
    """How many different faces were seen."""
    reason: str
    """In words, for the report."""
    sampled: list[FaceObservation | None]
    """The speaker's face in each sampled picture; None where it was not found."""


class FaceFollower:
    """Picks, among the faces of each frame, the one that continues the track.

    Args:
        start: Box of the face to follow, px of the pictures that come. Shape (4,).
    """

    def __init__(self, start: FaceBox) -> None:
        self._last: FaceBox
        self._lost: int
        self.move(start)

    @property
    def box(self) -> FaceBox:
        """Where the face was last seen. Shape (4,)."""
        return self._last

    def follow(self, faces: Sequence[FaceObservation]) -> FaceObservation | None:
        """Find the followed face in the next frame.

        Args:
            faces: All faces found in it.

        Returns:
            The one that goes on; None if only somebody else, or nobody, is there.
        """
        farthest = min(STEP_FACES + LOST_STEP_FACES * self._lost, FARTHEST_FACES)
        scale = STEP_SCALE if farthest == STEP_FACES else SAMPLED_STEP_SCALE
        boxes = [face_box(face) for face in faces]
        place = _nearest(self._last, boxes, farthest=farthest, scale=scale)
        if place is None:
            self._lost += 1
            return None
        self._last, self._lost = boxes[place], 0
        return faces[place]

    def move(self, start: FaceBox) -> None:
        """Start anew somewhere else: after a cut, or on pictures of another crop."""
        self._last = np.asarray(start, dtype=np.float64)
        # The next frame may be far in time from the pictures that `start` is the median of.
        self._lost = round(SAMPLED_STEP_FACES / LOST_STEP_FACES)


def face_box(face: FaceObservation) -> FaceBox:
    """Return the box around all landmarks, px: x0, y0, x1, y1. Shape (4,)."""
    points = np.asarray(face.landmarks[:, :2], dtype=np.float64)
    return np.concatenate((points.min(axis=0), points.max(axis=0)))


def same_face(before: FaceBox, seen: FaceBox, *, farthest: float, scale: float) -> bool:
    """Say whether a face may have gone from one box to the other.

    Args:
        before: x0, y0, x1, y1, px. Shape (4,).
        seen: The same, later. Shape (4,).
        farthest: How far its center may have moved, in heights of the larger box.
        scale: By which factor its height may have changed, > 1.
    """
    return _step(before, seen) < farthest and _growth(before, seen) < scale


def choose_speaker(
    sampled: Sequence[Sequence[FaceObservation]], loudness: NDArray[np.floating] | None = None
) -> Speaker:
    """Choose the person to learn.

    Args:
        sampled: All faces of each of some pictures, in the order of time.
        loudness: How loud the sound is around each picture, dB for example. Shape (pictures,).
            None without sound.

    Returns:
        The choice.

    Raises:
        ValueError: If no picture shows a face, or loudness is not one per picture.
    """
    if loudness is not None and len(loudness) != len(sampled):
        raise ValueError(f"loudness has {len(loudness)} values for {len(sampled)} pictures")
    tracks = _join(sampled)
    if not tracks:
        raise ValueError(f"none of {len(sampled)} pictures shows a face")
    longest = max(_seen(track) for track in tracks)
    rivals = [track for track in tracks if _seen(track) >= LEAST_SHARE * longest]
    chosen, reason = _choose(rivals, loudness, faces=len(tracks))
    boxes = [face_box(face) for face in chosen if face is not None]
    return Speaker(np.median(boxes, axis=0), len(tracks), reason, chosen)


Track = list[FaceObservation | None]


def _choose(
    rivals: list[Track], loudness: NDArray[np.floating] | None, *, faces: int
) -> tuple[Track, str]:
    """Choose among faces that are there long enough."""
    if len(rivals) == 1:
        return rivals[0], "the only face" if faces == 1 else "the face that is there most"
    if loudness is not None:
        follows = np.array([_lip_correlation(track, loudness) for track in rivals])
        best, second = np.argsort(-follows)[:2]
        if follows[best] >= LIP_CORRELATION and follows[best] - follows[second] >= LIP_MARGIN:
            return rivals[best], "its lips follow the sound"
    areas = np.array([_area(track) for track in rivals])
    largest, second = np.argsort(-areas)[:2]
    if areas[largest] >= CLEARLY_LARGER * areas[second]:
        return rivals[largest], "larger than the other" + "s" * (len(rivals) > 2)
    moves = np.array([_lip_motion(track) for track in rivals])
    best, second = np.argsort(-moves)[:2]
    if moves[best] >= 2 * moves[second]:
        return rivals[best], "its lips move most"
    present = np.array([_seen(track) * area for track, area in zip(rivals, areas, strict=True)])
    return rivals[int(present.argmax())], "about as large as the other, and chosen by size alone"


def _join(sampled: Sequence[Sequence[FaceObservation]]) -> list[Track]:
    """Join faces of consecutive pictures to tracks, nearest pairs first."""
    tracks: list[Track] = []
    last: list[FaceBox] = []
    for index, faces in enumerate(sampled):
        boxes = [face_box(face) for face in faces]
        pairs = sorted(
            (_step(last[track], boxes[face]), track, face)
            for track in range(len(tracks))
            for face in range(len(faces))
            if same_face(
                last[track], boxes[face], farthest=SAMPLED_STEP_FACES, scale=SAMPLED_STEP_SCALE
            )
        )
        for track in tracks:
            track.append(None)
        taken: set[int] = set()
        for _, track_index, face in pairs:
            if tracks[track_index][index] is None and face not in taken:
                tracks[track_index][index] = faces[face]
                last[track_index] = boxes[face]
                taken.add(face)
        for face in set(range(len(faces))) - taken:
            tracks.append([None] * index + [faces[face]])
            last.append(boxes[face])
    return tracks


def _nearest(
    before: FaceBox, boxes: Sequence[FaceBox], *, farthest: float, scale: float
) -> int | None:
    able = [
        (_step(before, box), place)
        for place, box in enumerate(boxes)
        if same_face(before, box, farthest=farthest, scale=scale)
    ]
    return min(able)[1] if able else None


def _step(before: FaceBox, seen: FaceBox) -> float:
    """How far the center moved, in heights of the larger box."""
    moved = (seen[:2] + seen[2:] - before[:2] - before[2:]) / 2
    return float(np.hypot(*moved) / max(_height(before), _height(seen), 1e-6))


def _growth(before: FaceBox, seen: FaceBox) -> float:
    """By which factor the height changed, >= 1."""
    low, high = sorted((max(_height(before), 1e-6), max(_height(seen), 1e-6)))
    return high / low


def _height(box: FaceBox) -> float:
    return float(box[3] - box[1])


def _seen(track: Track) -> int:
    return sum(face is not None for face in track)


def _area(track: Track) -> float:
    boxes = np.array([face_box(face) for face in track if face is not None])
    return float(np.median((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))


def _openings(track: Track) -> NDArray[np.float64]:
    """Opening of the lips in each picture; NaN where the face is not there."""
    return np.array(
        [np.nan if face is None else lip_opening(face.landmarks[None])[0] for face in track]
    )


def _lip_motion(track: Track) -> float:
    return float(np.nanstd(_openings(track)))


def _lip_correlation(track: Track, loudness: NDArray[np.floating]) -> float:
    """Pearson's r of opening and loudness; 0 where it cannot be told."""
    opening = _openings(track)
    known = np.isfinite(opening) & np.isfinite(loudness)
    if known.sum() < LIP_PICTURES:
        return 0.0
    opening, heard = opening[known], np.asarray(loudness, dtype=np.float64)[known]
    if opening.std() < 1e-6 or heard.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(opening, heard)[0, 1])
