"""Cuts: found where they are, and not where people or cameras only do something suddenly."""

import os
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from sspnerf.media.video import read_frames
from sspnerf.prepare.cuts import CutFinder, jumps, shrink

SHARED = Path(__file__).resolve().parents[3] / "shared"
CLIPS = Path(os.environ.get("SSPNERF_CLIPS", SHARED / "clips"))
has_clips = pytest.mark.skipif(
    not (CLIPS / "fr_50s.mp4").is_file(), reason=f"no real clips in {CLIPS}"
)
SIDE = 128
ANCHORS = (10, 152)


def scene(seed, frames, *, start=0.0, rate_hz=25.0):
    """A head that sways, nods and talks over a torso that follows, before a wall with things on it.

    Another seed is another room and person; another start another moment of the same take.
    """
    random = np.random.default_rng(seed)
    wall = cv2.resize(random.uniform(60, 220, (5, 5, 3)).astype(np.float32), (SIDE, SIDE))
    skin, cloth = random.uniform(100, 240, 3), random.uniform(10, 120, 3)
    noise = np.random.default_rng(seed + 1000)
    pictures = []
    for time in start + np.arange(frames) / rate_hz:
        picture = wall.copy()
        x, y = head_at(time)
        ellipse(picture, (0.6 * x + 26, 130), (50, 42), cloth.tolist())
        ellipse(picture, (x, y), (25, 34), skin.tolist())
        for side in (-1, 1):
            ellipse(picture, (x + 10 * side, y - 8), (3.5, 3.5), (30, 20, 20))
        ellipse(picture, (x, y + 17), (8, 2 + 4 * abs(np.sin(11 * time))), (70, 20, 20))
        pictures.append(to_bytes(picture + noise.normal(0, 1.5, picture.shape)))
    return pictures


def ellipse(picture, center, axes, color):
    """Draw with an eighth of a pixel's precision."""
    (x, y), (across, down) = ([round(8 * value) for value in pair] for pair in (center, axes))
    cv2.ellipse(picture, (x, y), (across, down), 0, 0, 360, color, -1, shift=3)


def head_at(time):
    return 64 + 6 * np.sin(1.3 * time) + 2 * np.sin(4.1 * time), 56 + 3 * np.sin(2.3 * time)


def to_bytes(picture):
    return np.clip(picture, 0, 255).round().astype(np.uint8)


def finder_of(pictures):
    finder = CutFinder()
    for picture in pictures:
        finder.push(picture)
    return finder


def cuts_of(pictures):
    return finder_of(pictures).cuts()


def test_cuts_between_scenes_are_found_to_the_frame():
    assert cuts_of(scene(1, 40) + scene(2, 33) + scene(3, 30)) == (40, 73)


@pytest.mark.parametrize("lengths", [(2, 30), (30, 2), (5, 30), (20, 4, 20)])
def test_cuts_next_to_an_end_or_to_each_other_are_found(lengths):
    film = [picture for seed, frames in enumerate(lengths) for picture in scene(seed, frames)]
    assert cuts_of(film) == tuple(np.cumsum(lengths)[:-1])


def test_a_jump_inside_one_framing_is_found():
    # At 0.0 + 50 frames the head is at the right, at 3.6 s at the left.
    assert cuts_of(scene(1, 40) + scene(1, 40, start=3.6)) == (40,)


def swaying(shifts):
    """A person with a pattern all over, in front of a plain wall, at places in px."""
    random = np.random.default_rng(5)
    pattern = cv2.resize(random.uniform(40, 200, (14, 14, 3)).astype(np.float32), (90, SIDE))
    film = []
    for shift in shifts:
        moved = np.array([[1, 0, 19 + shift], [0, 1, 20]], dtype=np.float32)
        film.append(cv2.warpAffine(pattern, moved, (SIDE, SIDE), borderValue=(180, 190, 200)))
    return [to_bytes(picture + random.normal(0, 1.5, picture.shape)) for picture in film]


@pytest.mark.parametrize("jump", [-5, -4, 4, 5])
def test_a_jump_too_small_for_another_picture_is_found(jump):
    sway = 1.5 * np.sin(np.arange(80) / 5)
    assert cuts_of(swaying(sway)) == ()
    assert cuts_of(swaying(sway + jump * (np.arange(80) >= 40))) == (40,)


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 60])
def test_a_film_without_a_cut_has_none(frames):
    finder = finder_of(scene(1, frames))
    assert finder.cuts() == ()
    assert len(finder.scores()) == frames


def test_cuts_are_known_at_any_time_and_asking_changes_nothing():
    film = scene(1, 90) + scene(2, 90)
    asked, finder = [], CutFinder()
    for picture in film:
        finder.push(picture)
        asked.append(finder.cuts())
    assert asked[80] == ()
    # Two frames later it is sure.
    assert asked[92:] == [(90,)] * 88
    np.testing.assert_array_equal(finder.scores(), finder_of(film).scores())


@pytest.mark.parametrize(
    ("frames", "light"), [(1, 0.0), (2, 0.0), (1, 3.0), (2, 3.0), (2, 1000.0), (12, 0.5), (12, 1.2)]
)
def test_a_flash_is_no_cut(frames, light):
    film = scene(1, 80)
    for index in range(40, 40 + frames):
        film[index] = to_bytes(film[index].astype(float) * light)
    assert cuts_of(film) == ()


@pytest.mark.parametrize("frames", [1, 8, 25])
def test_light_that_goes_down_is_no_cut(frames):
    film = scene(1, 80)
    for index in range(80):
        film[index] = to_bytes(film[index] * np.interp(index, (40, 40 + frames), (1.0, 0.35)))
    assert cuts_of(film) == ()


@pytest.mark.parametrize("step", [4, 8, 16])
def test_a_hand_before_the_lens_is_no_cut(step):
    film = scene(1, 100)
    for index in range(40, 70):
        reach = min(80, (index - 39) * step, (70 - index) * step)
        film[index][30:115, :reach] = (150, 110, 90)
        film[index][50:60, :reach] = (100, 70, 60)
    assert cuts_of(film) == ()


@pytest.mark.parametrize("rates", [(25, 30), (24, 60), (25, 50)])
def test_repeated_frames_are_no_cuts(rates):
    film = scene(1, 60, rate_hz=rates[0])
    assert cuts_of([film[i * rates[0] // rates[1]] for i in range(60 * rates[1] // rates[0])]) == ()


@pytest.mark.parametrize("rate_hz", [8, 12.5])
def test_few_frames_per_second_make_no_cuts(rate_hz):
    assert cuts_of(scene(1, 60, rate_hz=rate_hz)) == ()


def test_a_fast_turn_of_the_head_is_no_cut():
    film = scene(1, 40)
    at = 39 / 25
    # Half a swing in 0.2 s: what takes 2.4 s otherwise.
    film += [picture for i in range(5) for picture in scene(1, 1, start=at + 0.48 * i)]
    film += scene(1, 40, start=at + 2.4)
    assert cuts_of(film) == ()


def test_key_frames_that_sharpen_the_picture_are_no_cuts():
    film = []
    for index, picture in enumerate(scene(1, 100)):
        quality = 80 if index % 25 == 0 else 25
        _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        film.append(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    assert cuts_of(film) == ()


def test_small_pictures_do_not_know_the_light():
    picture = scene(1, 1)[0]
    darker = to_bytes(picture * 0.5 + 20.0)
    # The spread is about 30 levels here, and each picture is rounded twice.
    np.testing.assert_allclose(shrink(darker), shrink(picture), atol=0.1)
    assert shrink(picture).mean() == pytest.approx(0, abs=1e-5)
    assert shrink(picture).std() == pytest.approx(1, abs=1e-5)
    assert not shrink(np.full((64, 48, 3), 7, np.uint8)).any()


def landmarks_of(times):
    """A face of 100 px whose points go with the head, with 0.1 px of noise."""
    random = np.random.default_rng(0)
    rest = random.uniform(-40, 40, (478, 2))
    rest[list(ANCHORS)] = [(0, -50), (0, 50)]
    x, y = head_at(times)
    points = rest + np.stack((x, y), axis=1)[:, None]
    return np.concatenate(
        (points + random.normal(0, 0.1, points.shape), np.zeros((len(times), 478, 1))), axis=2
    )


def test_head_and_picture_that_jump_together_are_a_cut():
    time = np.arange(60) / 25
    time[30:] += 2.0
    points, scores = landmarks_of(time), np.zeros(60)
    # Pictures alone would not be sure; at frame 12 nothing happened to the head.
    scores[[12, 30]] = 0.1
    assert jumps(points, scores) == (30,)
    assert jumps(points, np.zeros(60)) == ()
    lost = points.copy()
    lost[29:32] = np.nan
    assert jumps(lost, scores) == ()
    assert jumps(points, scores, valid=np.arange(60) != 30) == ()
    assert jumps(np.full_like(points, np.nan), scores) == ()


def real(name, *, first=0, frames):
    pictures = islice(read_frames(CLIPS / f"{name}.mp4"), first, first + frames)
    return [
        cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA) for _, picture in pictures
    ]


@has_clips
@pytest.mark.slow
@pytest.mark.parametrize("name", ["en_8s", "de_20s", "fr_50s", "body_20s", "hands_22s"])
def test_real_people_who_talk_and_gesture_make_no_cuts(name):
    finder = CutFinder()
    for _, picture in read_frames(CLIPS / f"{name}.mp4"):
        finder.push(picture)
    assert finder.cuts() == ()


@has_clips
def test_cuts_between_real_clips_are_found():
    film = real("en_8s", frames=60) + real("de_20s", frames=50) + real("fr_50s", frames=60)
    assert cuts_of(film) == (60, 110)


@has_clips
def test_a_jump_inside_a_real_take_is_found():
    film = real("fr_50s", first=240, frames=60) + real("fr_50s", first=900, frames=60)
    assert cuts_of(film) == (60,)
