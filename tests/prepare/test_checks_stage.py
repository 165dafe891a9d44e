"""The stage `checks`: on a small clip that is made here, and on real ones."""

import json
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from prepare.pages import Page, check_self_contained
from sspnerf.config import PrepareConfig
from sspnerf.data.clip_writer import ClipWriter
from sspnerf.data.manifest import Camera, StageRecord
from sspnerf.data.semantics import SemanticClass
from sspnerf.geometry.face_mesh import FaceMesh
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.media.audio import read_waveform
from sspnerf.media.film_writer import FilmWriter
from sspnerf.media.video import probe_video, resampled_frames
from sspnerf.prepare.face_regions import face_regions
from sspnerf.prepare.found import Checked, Faces, Features, Sound, Take, TorsoTrack, Track
from sspnerf.prepare.pipeline import STAGES, prepare
from sspnerf.prepare.stages import checks
from sspnerf.prepare.torso import align_torso, alignment_residual, reliable_region
from sspnerf.prepare.workspace import Workspace

SIDE, RATE = 64, 25.0
# What is true of every clip that is made here.
SMALL = "the face is 25 px high"
CAMERA = Intrinsics.from_field_of_view(SIDE, SIDE)


def workspace(folder, frames=40, *, name="film.mp4", sound=True, torso=True, cuts=(), lost=()):
    """A clip of a disc with landmarks, as it is when all stages before `checks` have ended."""
    random = np.random.default_rng(0)
    writer = ClipWriter(folder / "clip", keep=True)
    work = Workspace(
        video=Path(name), settings=PrepareConfig(size=SIDE), writer=writer,
        progress=lambda *_: None, warn=lambda _: None,
    )  # fmt: skip
    vertices = random.uniform(-6, 6, (468, 3)).astype(np.float32)
    vertices[[10, 152, 33, 263]] = [(0, 8, 2), (0, -8, 2), (-4, 3, 2), (4, 3, 2)]
    writer.write_mesh(FaceMesh(vertices=vertices, triangles=face_regions().triangles.copy()))
    poses = np.tile(np.eye(4), (frames, 1, 1))
    upright = np.diag([1.0, -1.0, -1.0])
    turns = np.radians(np.linspace(-10, 10, frames))[:, None] * (0, 1, 0)
    yaw = Rotation.from_rotvec(turns).as_matrix()
    poses[:, :3, :3] = np.swapaxes(upright @ yaw, 1, 2)
    poses[:, :3, 3] = -(poses[:, :3, :3] @ np.array([0.0, 0.0, 35.0]))
    to_camera = np.linalg.inv(poses)
    seen = vertices @ np.swapaxes(to_camera[:, :3, :3], 1, 2) + to_camera[:, None, :3, 3]
    places = seen[..., :2] / seen[..., 2:] * CAMERA.fx + CAMERA.cx
    landmarks = np.zeros((frames, 478, 3), np.float32)
    landmarks[:, :468, :2] = places
    landmarks[:, 468:] = landmarks[:, :1]
    valid = np.ones(frames, bool)
    valid[list(lost)] = False
    wall = random.integers(60, 200, (SIDE, SIDE, 3), dtype=np.uint8)
    pictures = np.tile(wall, (frames, 1, 1, 1))
    y, x = np.mgrid[:SIDE, :SIDE]
    disc = (x - 32) ** 2 + (y - 32) ** 2 < 18**2
    pictures[:, disc] = (190, 150, 120)
    labels = np.tile(disc.astype(np.uint8), (frames, 1, 1))
    for array, values in (
        ("frames", pictures), ("labels", labels), ("mask", 255 * labels), ("valid", valid),
        ("landmarks", landmarks), ("poses", poses), ("torso_poses", poses),
        ("torso_confidence", np.full(frames, float(torso))),
        ("blendshapes", np.zeros((frames, 52))),
    ):  # fmt: skip
        writer.write_array(array, values)
    if sound:
        writer.write_speech(random.uniform(-0.3, 0.3, round(16000 * frames / RATE)))
    for found in (
        Take(frames=frames, frame_rate_hz=RATE, source_width=SIDE, source_height=SIDE,
             crop=(0, 0, SIDE, SIDE), cuts=cuts, has_sound=sound, faces=1, speaker="the only face",
             face=(0.0, 0.0, 1.0, 1.0)),
        Faces(lost=len(lost), cuts=cuts),
        Track.model_construct(
            reference_frame=frames // 2, reprojection_px=0.25,
            camera=Camera(fx=CAMERA.fx, fy=CAMERA.fy, cx=CAMERA.cx, cy=CAMERA.cy),
        ),
        TorsoTrack(is_seen=torso, mean_confidence=float(torso)),
        Sound(has_speech=sound, offset_s=0.08 if sound else None, correlation=0.3),
        Features(features={}),
    ):  # fmt: skip
        work._found[type(found)] = found
    work.records["decode"] = StageRecord(settings={}, input_hash="", seconds=1.5)
    return work


def checked(work):
    """Run the stage: what it found, its warnings, and its page."""
    warnings = []
    work.warn = warnings.append
    found = checks.run(work)
    text = (work.writer.partial / "prepare.html").read_text(encoding="utf-8")
    page = Page(text)
    check_self_contained(page, text)
    assert not list(work.writer.partial.glob("*.partial"))
    return found, warnings, page


def test_the_page_holds_every_kind_of_evidence(tmp_path):
    work = workspace(tmp_path, cuts=(20,), lost=(5, 6))
    np.save(work.scratch_folder / "raw_poses.npy", raw_poses(work))
    lags = np.linspace(-0.5, 0.5, 101)
    np.save(work.scratch_folder / "sync_curve.npy", np.stack((lags, np.cos(lags)), axis=1))
    found, _, page = checked(work)
    for said in (
        "The head's pose", "yaw", "How steady the head is", "smaller by", "The torso's pose",
        "How well one face fits all frames", "0.25 px of 64", "Labels", "mouth interior", "flicker",
        "Picture, camera and light", "Sound and lips", "The sound is 80 ms late", "correlation",
        "How it was made", "decode", "1.5 s", "Settings and versions", "numpy", "film.mp4",
        "Frames without a face 2", "Cuts 0.8 s", "The most doubtful frames", "no face was found",
    ):  # fmt: skip
        assert said in page.text, said
    assert page.elements.count("img") >= 12
    assert found.steadier_rotation is not None
    assert found.camera_shift == pytest.approx(0, abs=1e-4)
    assert found.flicker == 0
    assert Checked.model_validate(json.loads(found.model_dump_json())) == found


def raw_poses(work):
    """Poses that shake around the clip's."""
    poses = np.array(work.array("poses"), np.float64)
    random = np.random.default_rng(1)
    poses[:, :3, 3] += random.normal(0, 0.3, (len(poses), 3))
    return poses


def test_shaking_is_measured_against_what_was_seen(tmp_path):
    work = workspace(tmp_path)
    np.save(work.scratch_folder / "raw_poses.npy", raw_poses(work))
    found, _, _ = checked(work)
    # The clip's poses turn evenly, and those that were seen only in place: .3 cm of noise.
    assert found.steadier_sideways > 100
    assert found.steadier_rotation == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_clip_of_very_few_frames_has_its_page(tmp_path, frames):
    found, warnings, page = checked(workspace(tmp_path, frames))
    assert f"{frames} at 25 Hz" in page.text
    assert found.flicker is None if frames == 1 else found.flicker == 0
    assert warnings == [SMALL]


def test_a_clip_without_sound_has_its_page(tmp_path):
    _, _, page = checked(workspace(tmp_path, sound=False))
    assert "The clip has no sound." in page.text
    assert "Sound none" in page.text


def test_a_torso_that_is_never_seen_is_said_so(tmp_path):
    _, _, page = checked(workspace(tmp_path, torso=False))
    assert "The torso could not be followed" in page.text


def test_raw_poses_that_are_gone_are_left_out(tmp_path):
    found, _, page = checked(workspace(tmp_path))
    assert "How steady the head is" not in page.text
    assert found.steadier_rotation is None


@pytest.mark.parametrize("name", ["<b>.mp4", "a&amp;b'\".mp4"])
def test_names_of_files_do_nothing(tmp_path, name):
    _, _, page = checked(workspace(tmp_path, name=name))
    assert name in page.text


def test_what_is_serious_is_warned_of_and_other_stages_are_heard(tmp_path):
    work = workspace(tmp_path)
    work.records["speech"] = StageRecord(
        settings={}, input_hash="", warnings=("the sound is 80 ms late",)
    )
    work.records["tracking"] = StageRecord(settings={}, input_hash="", warnings=("some repeat",))
    work.records["landmarks"] = StageRecord(settings={}, input_hash="", warnings=("no face",))
    work.writer.write_array("frames", np.array(work.array("frames")) // 5)
    work._maps.clear()
    _, warnings, page = checked(work)
    assert warnings == ["the picture is dark: the face has 32 of 255 levels", SMALL]
    assert "Look at 3 things before you train" in page.text
    assert "The sound is 80 ms late (speech)" in page.text
    assert page.text.index("Good to know") < page.text.index("Some repeat (tracking)")
    assert "No face (landmarks)" not in page.text


def test_a_camera_that_moves_at_a_cut_is_no_moving_camera(tmp_path):
    work = workspace(tmp_path, 48, cuts=(24,))
    frames = np.array(work.array("frames"))
    frames[24:] = np.roll(frames[24:], 9, axis=2)
    work.writer.write_array("frames", frames)
    work._maps.clear()
    found, warnings, _ = checked(work)
    assert found.camera_shift < 0.001
    assert warnings == [SMALL]


def test_it_is_the_last_thing_before_the_preview():
    assert list(STAGES)[-2:] == ["checks", "preview"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["de_20s", "fr_50s"])
def test_good_real_clips_are_good_to_train(tmp_path, name, clips_folder, models_folder):
    source, video = clips_folder / f"{name}.mp4", tmp_path / f"{name}.mp4"
    info = probe_video(source)
    frames = round(13 * info.frame_rate_hz)
    with FilmWriter(
        video, width=info.width, height=info.height, frame_rate_hz=info.frame_rate_hz,
        waveform=read_waveform(source)[: 13 * 16000],
    ) as film:  # fmt: skip
        for frame in islice(resampled_frames(source, info.frame_rate_hz), frames):
            film.write(frame)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "SSPNERF_MODELS", str(models_folder))
        clip = prepare(video, tmp_path / "clip", PrepareConfig(size=160))
    assert clip.manifest.stages["checks"].warnings == ()
    text = (clip.path / "prepare.html").read_text(encoding="utf-8")
    page = Page(text)
    check_self_contained(page, text)
    assert "Good to train" in page.text
    assert len(text) < 3_000_000
    check_tracking(clip)
    aligned, unaligned = torso_residuals(clip)
    # 13 s and 160 px of them: docs/prepare.md has the figures of the whole clips.
    assert aligned.mean() < unaligned.mean() / 2


def check_tracking(clip):
    """As the table in docs/prepare.md says; px of 512 there."""
    tracked, found = clip.manifest.stages["tracking"].found, clip.manifest.stages["checks"].found
    assert tracked["reprojection_px"] * 512 / 160 < 1.0
    assert found["steadier_rotation"] > 1.5
    assert found["steadier_depth"] > 3
    assert abs(found["lag_frames"]) < 0.1
    assert found["flicker"] < 0.02


def torso_residuals(clip):
    """How much each n-th frame's torso differs from the reference frame's, moved back and not."""
    torso_maps = clip.labels[::20] == SemanticClass.TORSO
    region = reliable_region(torso_maps, lowest_chin=float(clip.landmarks[:, 152, 1].max()))
    motion = align_torso(
        clip.frames, region, clip.manifest.reference_frame, intrinsics=clip.manifest.intrinsics,
        depth=45.0, masks=clip.mask,
    )  # fmt: skip
    return alignment_residual(clip.frames, region, motion, every=5)
