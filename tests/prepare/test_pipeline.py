"""The whole of prepare: refusals, and one real clip where it is at hand."""

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from sspnerf.config import PrepareConfig
from sspnerf.data.semantics import SemanticClass
from sspnerf.errors import MediaError, UsageError
from sspnerf.geometry.cameras import project_points
from sspnerf.media.audio import read_waveform
from sspnerf.media.film_writer import FilmWriter
from sspnerf.media.video import probe_video, resampled_frames
from sspnerf.prepare.face_regions import LOWER_INNER_LIP
from sspnerf.prepare.pipeline import STAGES, prepare
from sspnerf.prepare.rest_face import RIGID_LANDMARKS

SHARED = Path(__file__).resolve().parents[3] / "shared"
CLIPS = Path(os.environ.get("SSPNERF_CLIPS", SHARED / "clips"))
MODELS = Path(os.environ.get("SSPNERF_MODELS", SHARED / "models"))
FRAMES = 25
has_models = pytest.mark.skipif(
    not (MODELS / "face_landmarker.task").is_file(), reason=f"no model files in {MODELS}"
)
has_clips = pytest.mark.skipif(
    not (CLIPS / "en_8s.mp4").is_file(), reason=f"no real clips in {CLIPS}"
)


@pytest.fixture(scope="module")
def models_variable():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSPNERF_MODELS", str(MODELS))
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, models_variable):
    """The first second of a real clip, prepared; and the stages that told of their progress."""
    folder = tmp_path_factory.mktemp("prepare")
    source, video = CLIPS / "en_8s.mp4", folder / "short.mp4"
    info = probe_video(source)
    waveform = read_waveform(source)[: round(16000 * FRAMES / info.frame_rate_hz)]
    with FilmWriter(
        video, width=info.width, height=info.height, frame_rate_hz=info.frame_rate_hz,
        waveform=waveform,
    ) as film:  # fmt: skip
        for frame in islice(resampled_frames(source, info.frame_rate_hz), FRAMES):
            film.write(frame)
    told = {}
    clip = prepare(
        video,
        folder / "clip",
        PrepareConfig(size=96),
        progress=lambda stage, done, total: told.__setitem__(stage, (done, total)),
    )
    return clip, told


@has_models
@has_clips
def test_the_clip_is_whole_and_says_how_it_was_made(prepared):
    clip, told = prepared
    assert clip.manifest.frames == FRAMES
    assert (clip.manifest.width, clip.manifest.height) == (96, 96)
    assert clip.manifest.crop == (0, 0, 512, 512)
    assert clip.valid.all()
    assert list(clip.manifest.stages) == list(STAGES)
    assert len({record.input_hash for record in clip.manifest.stages.values()}) == len(STAGES)
    assert all(done == total for done, total in told.values())
    assert set(told) == set(STAGES)
    assert clip.feature("logmel").shape == (100, 80)
    assert not (clip.path / "work").exists()
    assert probe_video(clip.path / "preview.mp4").duration_s == pytest.approx(1.0, abs=0.05)


@has_models
@has_clips
def test_labels_lie_where_the_landmarks_are(prepared):
    clip, _ = prepared
    for index in range(0, FRAMES, 6):
        labels, landmarks = clip.labels[index], clip.landmarks[index]
        x, y = landmarks[LOWER_INNER_LIP, :2] + (0, 1.5)
        assert labels[int(y), int(x)] in (SemanticClass.LIP, SemanticClass.MOUTH_INTERIOR)
        nose_x, nose_y = landmarks[4, :2]
        assert labels[int(nose_y), int(nose_x)] == SemanticClass.NOSE
        assert labels[2, 2] == SemanticClass.BACKGROUND
        assert (labels == SemanticClass.HAIR).mean() > 0.05
        assert (labels == SemanticClass.NECK).mean() > 0.02
    np.testing.assert_array_equal(clip.labels > 0, clip.mask > 127)


@has_models
@has_clips
def test_the_mesh_appears_where_the_face_is(prepared):
    clip, _ = prepared
    vertices = torch.from_numpy(clip.mesh.vertices[RIGID_LANDMARKS])
    for index in range(FRAMES):
        pose = torch.from_numpy(np.array(clip.poses[index])).expand(len(vertices), 4, 4)
        seen = project_points(clip.manifest.intrinsics, pose, vertices).numpy()
        error = np.linalg.norm(seen - clip.landmarks[index, RIGID_LANDMARKS, :2], axis=-1)
        # 1 px at 512 px is 0.19 px here.
        assert np.sqrt((error**2).mean()) < 0.4


@has_models
@has_clips
def test_poses_move_smoothly_and_agree_in_the_reference_frame(prepared):
    clip, _ = prepared
    bend = np.diff(clip.poses, 2, axis=0)
    assert np.abs(bend[:, :3, :3]).max() < 0.05
    assert np.abs(bend[:, :3, 3]).max() < 1.5
    reference = clip.manifest.reference_frame
    np.testing.assert_allclose(clip.torso_poses[reference], clip.poses[reference], atol=1e-5)


def film_of_nothing(path, frames=10):
    with FilmWriter(path, width=64, height=64, frame_rate_hz=25) as film:
        for level in range(frames):
            film.write(np.full((64, 64, 3), 10 * level, np.uint8))
    return path


@has_models
@pytest.mark.refuses
def test_a_video_without_a_face_is_refused_and_leaves_nothing(tmp_path, models_variable):
    video = film_of_nothing(tmp_path / "nobody.mp4")
    with pytest.raises(MediaError, match=r"nobody\.mp4 shows no face in any of \d+ frames"):
        prepare(video, tmp_path / "clip")
    assert [path.name for path in tmp_path.iterdir()] == ["nobody.mp4"]


@pytest.mark.refuses
def test_an_existing_clip_is_not_overwritten_unasked(tmp_path):
    video = film_of_nothing(tmp_path / "nobody.mp4")
    (tmp_path / "clip").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        prepare(video, tmp_path / "clip")


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 3}, "prepare.size is 3; expected 32 to 1024"),
        ({"frame_rate_hz": 0.5}, "prepare.frame_rate_hz is 0.5; expected 1 to 240"),
        ({"features": ("deepspeech",)}, "prepare.features has deepspeech; expected any of: logmel"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        PrepareConfig(**changes)


@has_models
@has_clips
def test_a_video_without_sound_is_prepared_with_a_warning(tmp_path, models_variable):
    source, video = CLIPS / "en_8s.mp4", tmp_path / "silent.mp4"
    info = probe_video(source)
    with FilmWriter(
        video, width=info.width, height=info.height, frame_rate_hz=info.frame_rate_hz
    ) as film:
        for frame in islice(resampled_frames(source, info.frame_rate_hz), 3):
            film.write(frame)
    warnings = []
    clip = prepare(video, tmp_path / "clip", PrepareConfig(size=32), warn=warnings.append)
    assert not clip.manifest.has_speech
    assert any("silent.mp4 has no sound" in line for line in warnings)


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("library", "package"),
    [("cv2", "opencv-contrib-python"), ("mediapipe", "mediapipe"), ("pooch", "pooch")],
)
def test_a_missing_extra_says_what_to_install(library, package):
    program = (
        "import importlib.util as util, sys\n"
        "found = util.find_spec\n"
        f"util.find_spec = lambda name: None if name == {library!r} else found(name)\n"
        "from sspnerf.cli import main\n"
        "main(['prepare', 'video.mp4', 'clip'])\n"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: prepare needs {package}, which is not installed",
        'hint: pip install "sspnerf[prepare]"',
    ]
