"""Who speaks: chosen among several, and followed when others pass."""

import os
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from sspnerf.media.video import read_frames
from sspnerf.perception.landmarks import FaceLandmarker, FaceObservation
from sspnerf.prepare.speaker import FaceFollower, choose_speaker, face_box, same_face

SHARED = Path(__file__).resolve().parents[3] / "shared"
CLIPS = Path(os.environ.get("SSPNERF_CLIPS", SHARED / "clips"))
MODELS = Path(os.environ.get("SSPNERF_MODELS", SHARED / "models"))
has_clips_and_models = pytest.mark.skipif(
    not ((CLIPS / "de_20s.mp4").is_file() and (MODELS / "face_landmarker.task").is_file()),
    reason=f"no real clips in {CLIPS} or no model files in {MODELS}",
)
REST = np.random.default_rng(0).uniform(-0.4, 0.4, (478, 2))
REST[10], REST[152] = (0, -0.5), (0, 0.5)


def face(x, y, height, *, opening=0.0):
    """A face around (x, y), px, whose lips are open by a share of its height."""
    points = REST.copy()
    for upper, lower in ((82, 87), (13, 14), (312, 317)):
        points[upper], points[lower] = (0, 0.2), (0, 0.2 + opening)
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[:, :2] = points * height + (x, y)
    return FaceObservation(landmarks, np.eye(4), np.zeros(52, np.float32))


def left(opening=0.0, height=100.0):
    return face(100, 120, height, opening=opening)


def right(opening=0.0, height=100.0):
    return face(400, 130, height, opening=opening)


def center_x(box):
    return (box[0] + box[2]) / 2


def test_the_only_face_is_chosen_where_it_mostly_is():
    places = [100, 104, 96, 100, 130]
    found = choose_speaker([[face(x, 120, 100)] for x in places])
    assert found.faces == 1
    assert found.reason == "the only face"
    np.testing.assert_allclose(found.box, face_box(face(100, 120, 100)), atol=1e-3)
    assert [seen is not None for seen in found.sampled] == [True] * 5


def test_the_larger_of_two_is_chosen():
    for order in (1, -1):
        found = choose_speaker([[left(), right(height=140.0)][::order] for _ in range(10)])
        assert center_x(found.box) == pytest.approx(center_x(face_box(right(height=140.0))))
        assert (found.faces, found.reason) == (2, "larger than the other")


def test_lips_that_follow_the_sound_count_more_than_size():
    random = np.random.default_rng(3)
    loudness = random.uniform(0, 20, 20)
    spoken, chewed = 0.004 * loudness, random.uniform(0, 0.08, 20)
    sampled = [[left(a), right(b, 160.0)] for a, b in zip(spoken, chewed, strict=True)]
    found = choose_speaker(sampled, loudness)
    assert center_x(found.box) < 200
    assert found.reason == "its lips follow the sound"
    assert choose_speaker(sampled).reason == "larger than the other"


def test_of_two_alike_the_one_whose_lips_move_is_chosen():
    random = np.random.default_rng(3)
    sampled = [[right(), left(opening)] for opening in random.uniform(0, 0.08, 20)]
    found = choose_speaker(sampled, random.uniform(0, 20, 20))
    assert center_x(found.box) < 200
    assert found.reason == "its lips move most"


def test_somebody_who_passes_by_is_not_chosen_but_counted():
    sampled = [[left()] for _ in range(12)]
    sampled[5] = [right(height=300.0), left()]
    sampled[8] = [right(height=300.0)]
    found = choose_speaker(sampled)
    assert center_x(found.box) < 200
    assert (found.faces, found.reason) == (2, "the face that is there most")
    assert found.sampled[8] is None


def test_faces_are_told_apart_in_whatever_order_they_come():
    sampled = [[left(), right(height=140.0)][:: 1 if i % 2 else -1] for i in range(9)]
    found = choose_speaker(sampled)
    assert found.faces == 2
    assert all(center_x(face_box(seen)) > 300 for seen in found.sampled)


@pytest.mark.refuses
def test_no_face_and_loudness_of_other_pictures_are_refused():
    with pytest.raises(ValueError, match="none of 3 pictures shows a face"):
        choose_speaker([[], [], []])
    with pytest.raises(ValueError, match="loudness has 2 values for 3 pictures"):
        choose_speaker([[left()]] * 3, np.zeros(2))


def follow(start, frames):
    """Where the followed face is, frame by frame; None where it is lost."""
    follower = FaceFollower(face_box(start))
    found = [follower.follow(faces) for faces in frames]
    return [None if seen is None else round(center_x(face_box(seen))) for seen in found]


def at(x, height=100.0):
    return round(center_x(face_box(face(x, 120, height))))


def test_a_face_is_followed_as_it_moves():
    path = [face(100 + 20 * i, 120, 100) for i in range(20)]
    assert follow(path[0], [[seen] for seen in path]) == [at(100 + 20 * i) for i in range(20)]


def test_the_other_face_is_not_taken_when_the_followed_one_leaves():
    both, alone = [left(), right()], [right()]
    found = follow(left(), [both] * 5 + [alone] * 200 + [both[::-1]] * 3)
    assert found == [at(100)] * 5 + [None] * 200 + [at(100)] * 3


def test_a_face_of_another_size_in_the_same_place_is_somebody_else():
    assert follow(left(), [[left()], [face(100, 120, 250)], [left()]]) == [at(100), None, at(100)]


def test_a_face_that_was_lost_may_return_some_way_off():
    assert follow(left(), [[left()]] + [[]] * 2 + [[face(170, 120, 100)]])[-1] is None
    assert follow(left(), [[left()]] + [[]] * 10 + [[face(170, 120, 100)]])[-1] == at(170)


def test_the_follower_starts_anew_where_it_is_told():
    follower = FaceFollower(face_box(left()))
    assert follower.follow([right()]) is None
    follower.move(face_box(right()))
    assert follower.follow([left(), right()]) is not None
    np.testing.assert_allclose(follower.box, face_box(right()))


def test_faces_are_the_same_by_place_and_size():
    before = np.array([0.0, 0.0, 80.0, 100.0])
    assert same_face(before, before + 39, farthest=0.6, scale=1.5)
    assert not same_face(before, before + 43, farthest=0.6, scale=1.5)
    assert same_face(before, before * 1.4, farthest=0.6, scale=1.5)
    assert not same_face(before, before * 1.6, farthest=0.6, scale=1.5)
    assert not same_face(before * 1.6, before, farthest=0.6, scale=1.5)


def pictures(name, first, frames, side):
    shown = islice(read_frames(CLIPS / f"{name}.mp4"), first, first + frames)
    return [cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA) for _, picture in shown]


@has_clips_and_models
def test_two_real_people_side_by_side_are_told_apart_and_one_is_followed():
    english, german = pictures("en_8s", 0, 24, 256), pictures("de_20s", 0, 24, 320)
    blank = np.full((320, 256, 3), 128, np.uint8)
    frames = []
    for index, (one, other) in enumerate(zip(english, german, strict=True)):
        stage = blank.copy()
        # The one on the left is gone for a while.
        if not 10 <= index < 16:
            stage[:256] = one
        frames.append(np.concatenate((stage, other), axis=1))
    with FaceLandmarker(MODELS / "face_landmarker.task", video=False, faces=3) as landmarker:
        seen = [landmarker.observe_all(frame) for frame in frames]
        only = landmarker.observe(frames[12])
    assert [len(faces) for faces in seen] == [2] * 10 + [1] * 6 + [2] * 8
    sides = [sorted(center_x(face_box(found)) > 256 for found in faces) for faces in seen]
    assert sides == [[False, True]] * 10 + [[True]] * 6 + [[False, True]] * 8
    np.testing.assert_array_equal(only.landmarks, seen[12][0].landmarks)
    chosen = choose_speaker(seen[::3])
    assert chosen.faces == 2
    first = min(seen[0], key=lambda found: center_x(face_box(found)))
    follower = FaceFollower(face_box(first))
    found = [follower.follow(faces) for faces in seen]
    assert [seen is None for seen in found] == [False] * 10 + [True] * 6 + [False] * 8
    assert all(center_x(face_box(seen)) < 256 for seen in found if seen is not None)
