"""prepare goes on where it was stopped, repeats nothing, and gives what an unbroken run gives."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from sspnerf.config import PrepareConfig
from sspnerf.data.clip import ARRAYS, open_clip
from sspnerf.data.clip_writer import ClipWriter
from sspnerf.data.manifest import StageRecord
from sspnerf.errors import ClipError, SspnerfError, UsageError
from sspnerf.media.film_writer import FilmWriter
from sspnerf.media.video import probe_video, resampled_frames
from sspnerf.prepare import chunks, pipeline
from sspnerf.prepare.found import Nothing
from sspnerf.prepare.pipeline import STAGES, prepare, stages_to_run
from sspnerf.prepare.stages import landmarks as landmarks_stage
from sspnerf.prepare.status import clip_status
from sspnerf.prepare.workspace import Stage, Workspace, stage_keys

SETTINGS = PrepareConfig(size=48)
FRAMES = 26


# --- which stages run -----------------------------------------------------------------------------


def stage(needs=(), *, depends_on="size", leaves=(), scratch=(), reads=()):
    return Stage(
        run=lambda work: Nothing(),
        found=Nothing,
        needs=needs,
        settings=lambda settings: {depends_on: getattr(settings, depends_on)},
        leaves=leaves,
        scratch=scratch,
        reads=reads,
    )


# first -> second -> third, and first -> aside
FOUR = {
    "first": stage(leaves=("a.npy",), scratch=("s",)),
    "second": stage(("first",), depends_on="parser", leaves=("b.npy",), reads=("s",)),
    "third": stage(("second",), leaves=("c.npy",)),
    "aside": stage(("first",), depends_on="frame_rate_hz", leaves=("d.npy",)),
}
WHOLE = {"a.npy", "b.npy", "c.npy", "d.npy", "s.npy"}


def keys(source="film", **changes):
    return stage_keys(FOUR, PrepareConfig(**changes), source)


def to_run(done, *, files=WHOLE, **changes):
    return stages_to_run(FOUR, keys(**changes), done, files)


def test_what_is_done_is_not_done_again():
    assert to_run(keys()) == set()
    assert to_run({}) == set(FOUR)


def test_a_setting_repeats_only_what_depends_on_it():
    assert to_run(keys(), frame_rate_hz=30.0) == {"aside"}
    assert to_run(keys(), parser="bisenet") == {"second", "third"}
    assert to_run(keys(), size=64) == set(FOUR)


def test_another_video_repeats_everything():
    assert stages_to_run(FOUR, keys("another"), keys(), WHOLE) == set(FOUR)


def test_a_lost_file_is_made_again_but_what_came_after_it_stays():
    assert to_run(keys(), files=WHOLE - {"b.npy"}) == {"second"}


def test_scratch_is_made_again_only_where_it_is_needed():
    assert to_run(keys(), files=WHOLE - {"s.npy"}) == set()
    assert to_run(keys(), files=WHOLE - {"s.npy"}, frame_rate_hz=30.0) == {"aside"}
    assert to_run(keys(), files=WHOLE - {"s.npy"}, parser="bisenet") == {
        "first", "second", "third",
    }  # fmt: skip


def test_every_stage_comes_after_those_it_needs_and_leaves_what_the_clip_holds():
    seen, made = [], {}
    for name, each in STAGES.items():
        assert set(each.needs) <= set(seen), name
        assert {made[array] for array in each.reads} <= set(each.needs), name
        seen.append(name)
        made |= dict.fromkeys(each.scratch, name)
    left = {file for each in STAGES.values() for file in each.leaves}
    assert {f"{name}.npy" for name in ARRAYS} | {"mesh.npz", "background.png"} <= left


# --- chunks ---------------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path):
    with ClipWriter(tmp_path / "clip", keep=True) as writer:
        yield Workspace(
            video=tmp_path / "video.mp4", settings=SETTINGS, writer=writer,
            progress=lambda *_: None, warn=lambda _: None,
        )  # fmt: skip


def test_chunks_are_equal_and_hold_every_frame_once():
    for frames in (1, 2, 9, 26, 255, 256, 257, 1510, 18000):
        cut = chunks.split_into_chunks(frames, 128)
        assert [index for chunk in cut for index in chunk] == list(range(frames))
        assert max(map(len, cut)) <= 128
        assert max(map(len, cut[:-1]), default=1) - min(map(len, cut[:-1]), default=1) == 0


def test_chunks_that_are_done_are_not_done_again(work, monkeypatch):
    monkeypatch.setattr(chunks, "threads", lambda: 1)
    seen, is_stopped = [], [True]

    def process(chunk):
        if chunk.start == 4 and is_stopped[0]:
            raise KeyboardInterrupt
        array[chunk.start : chunk.stop] += 1
        seen.extend(chunk)

    parts = [range(0, 4), range(4, 8), range(8, 10)]
    work.begin("parsing", STAGES["parsing"], "key")
    array = work.create("labels", (10, 2, 2))
    with pytest.raises(KeyboardInterrupt):
        chunks.over_chunks(work, "parsing", parts, process)
    assert 4 not in seen
    is_stopped[0] = False
    work.begin("parsing", STAGES["parsing"], "key")
    array = work.create("labels", (10, 2, 2))
    np.testing.assert_array_equal(array[:4], 1)
    chunks.over_chunks(work, "parsing", parts, process)
    np.testing.assert_array_equal(array[:8], 1)
    assert (array[8:] >= 1).all()
    assert seen.count(0) == 1, "the first chunk is not done again"
    work.begin("parsing", STAGES["parsing"], "another key")
    assert not work.is_done(range(0, 4))
    np.testing.assert_array_equal(work.create("labels", (10, 2, 2)), 0)


def test_pictures_come_in_order_whichever_is_ready_first():
    def make(index):
        time.sleep(0.01 * (index % 3))
        return np.full(1, index, np.uint8)

    given = list(chunks.in_order(make, range(0, 20, 2)))
    assert [index for index, _ in given] == list(range(0, 20, 2))
    assert [int(picture[0]) for _, picture in given] == list(range(0, 20, 2))


def test_an_error_on_a_thread_is_raised(work):
    def process(chunk):
        raise ValueError("broken")

    work.begin("parsing", STAGES["parsing"], "key")
    with pytest.raises(ValueError, match="broken"):
        chunks.over_chunks(work, "parsing", [range(10)], process)


def test_a_chunk_sees_its_neighbours_inside_the_clip():
    assert chunks.with_neighbours(range(0, 4), 2, 10) == range(0, 6)
    assert chunks.with_neighbours(range(4, 10), 2, 10) == range(2, 10)


# --- a real video ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def video(clips_folder, models_folder, tmp_path_factory):
    """A second of a real clip; without sound, so that nothing but pictures takes time."""
    source, path = clips_folder / "en_8s.mp4", tmp_path_factory.mktemp("resume") / "short.mp4"
    info = probe_video(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSPNERF_MODELS", str(models_folder))
        patch.setattr(landmarks_stage, "CHUNK", 10)
        patch.setattr(landmarks_stage, "WARM_UP", 4)
        with FilmWriter(
            path, width=info.width, height=info.height, frame_rate_hz=info.frame_rate_hz
        ) as film:
            for frame in islice(resampled_frames(source, info.frame_rate_hz), FRAMES):
                film.write(frame)
        yield path


@pytest.fixture(scope="module")
def unbroken(video):
    return prepare(video, video.with_name("unbroken"), SETTINGS)


def assert_same_clip(first, second):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    np.testing.assert_array_equal(first.background, second.background)
    np.testing.assert_array_equal(first.mesh.vertices, second.mesh.vertices)
    assert first.manifest.cuts == second.manifest.cuts


class StoppedError(Exception):
    """Stands for Ctrl-C at a certain moment."""


def stop_at(stage, done):
    def progress(name, now, total):
        if name == stage and now >= done:
            raise StoppedError

    return progress


@pytest.mark.parametrize(
    ("name", "done"),
    [("decode", 9), ("landmarks", 14), ("tracking", 0), ("silhouette", 1), ("torso", 5),
     ("preview", 11)],
)  # fmt: skip
def test_it_goes_on_where_it_was_stopped(video, unbroken, tmp_path, name, done):
    path = tmp_path / "clip"
    with pytest.raises(StoppedError):
        prepare(video, path, SETTINGS, progress=stop_at(name, done))
    assert not path.exists()
    began = {}
    clip = prepare(
        video, path, SETTINGS, progress=lambda stage, now, total: began.setdefault(stage, now)
    )
    assert_same_clip(clip, unbroken)
    before = list(STAGES)[: list(STAGES).index(name)]
    assert all(began[stage] == 1 for stage in before), "adopted, not repeated"
    if name == "landmarks":
        assert began[name] in (14, 21), "two chunks of seven frames are kept, or three"
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip"]
    assert not (path / "work").exists()


def test_killed_it_goes_on_too(video, unbroken, tmp_path):
    path = tmp_path / "clip"
    program = (
        "import sys; from pathlib import Path; from sspnerf.config import PrepareConfig\n"
        "from sspnerf.prepare.stages import landmarks; landmarks.CHUNK, landmarks.WARM_UP = 10, 4\n"
        "from sspnerf.prepare.pipeline import prepare\n"
        "prepare(Path(sys.argv[1]), Path(sys.argv[2]), PrepareConfig(size=48))\n"
    )
    work = tmp_path / ".clip.partial" / "work"
    running = subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program, str(video), str(path)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(work.glob("landmarks.*.done")) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not path.exists()
    with pytest.raises(ClipError, match="does not exist"):
        open_clip(path)
    told = {status.name: status for status in clip_status(path)}
    assert told["decode"].state == "done"
    assert told["landmarks"].state in ("begun", "done")
    assert told["preview"].state == "to do"
    if told["landmarks"].state == "begun":
        assert (told["landmarks"].frames, told["landmarks"].of) in (
            (7, 26),
            (14, 26),
            (21, 26),
            (26, 26),
        )
    clip = prepare(video, path, SETTINGS)
    assert_same_clip(clip, unbroken)
    assert all(status.state == "done" for status in clip_status(path))


def test_a_clip_that_is_overwritten_gives_what_has_not_changed(video, unbroken, tmp_path):
    path = tmp_path / "clip"
    first = prepare(video, path, SETTINGS)
    ran = []
    again = prepare(
        video, path, PrepareConfig(size=48, fix_sync=True), overwrite=True,
        progress=lambda stage, now, total: ran.append((stage, now, total)),
    )  # fmt: skip
    assert {stage for stage, now, total in ran if (now, total) == (0, 1)} == {"speech", "features"}
    assert_same_clip(again, first)
    assert_same_clip(again, unbroken)


def test_a_failed_overwrite_leaves_the_old_clip_as_it_was(video, unbroken, tmp_path):
    path = tmp_path / "clip"
    prepare(video, path, SETTINGS)
    with pytest.raises(StoppedError):
        prepare(video, path, PrepareConfig(size=64), overwrite=True, progress=stop_at("parsing", 1))
    assert_same_clip(open_clip(path), unbroken)


@pytest.mark.parametrize("name", ["landmarks", "parsing", "checks"])
def test_settings_there_and_back_leave_no_traces(video, unbroken, tmp_path, name):
    """Of each stage that was begun with other settings nothing is believed."""
    path, other = tmp_path / "clip", PrepareConfig(size=48, crop=(40, 0, 512, 472))
    with pytest.raises(StoppedError):
        prepare(video, path, SETTINGS, progress=stop_at("preview", 1))
    with pytest.raises(StoppedError):
        prepare(video, path, other, progress=stop_at(name, 1))
    assert_same_clip(prepare(video, path, SETTINGS), unbroken)


def test_an_overwrite_that_is_stopped_harms_neither_clip(video, unbroken, tmp_path, monkeypatch):
    path = tmp_path / "clip"
    prepare(video, path, SETTINGS)
    # The same labels under another key: parsing is done again, from scratch arrays that are gone.
    monkeypatch.setitem(pipeline.STAGES, "parsing", replace(STAGES["parsing"], version=2))
    for name in ("landmarks", "parsing", "checks"):
        with pytest.raises(StoppedError):
            prepare(video, path, SETTINGS, overwrite=True, progress=stop_at(name, 1))
        assert_same_clip(open_clip(path), unbroken)
    assert_same_clip(prepare(video, path, SETTINGS, overwrite=True), unbroken)


def test_what_is_done_survives_what_is_refused_at_once(video, tmp_path, monkeypatch):
    path, work = tmp_path / "clip", tmp_path / ".clip.partial" / "work"
    with pytest.raises(StoppedError):
        prepare(video, path, SETTINGS, progress=stop_at("tracking", 0))
    with pytest.raises(UsageError, match="reaches beyond the picture"):
        prepare(video, path, PrepareConfig(size=48, crop=(100, 0, 700, 600)))
    with pytest.raises(SspnerfError, match=r"cannot download 79999_iter\.pth"):
        prepare(video, path, PrepareConfig(size=48, parser="bisenet"))
    monkeypatch.setattr(pipeline, "source_hash", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(video, path, SETTINGS)
    assert (work / "landmarks.json").is_file()


def interrupted(_):
    raise KeyboardInterrupt


def test_files_and_records_that_are_lost_or_strange_are_made_again(video, unbroken, tmp_path):
    path, partial = tmp_path / "clip", tmp_path / ".clip.partial"
    with pytest.raises(StoppedError):
        prepare(video, path, SETTINGS, progress=stop_at("preview", 1))
    (partial / "torso_poses.npy").unlink()
    record = json.loads((partial / "work" / "tracking.json").read_text())
    del record["found"]["repeated"]
    (partial / "work" / "tracking.json").write_text(json.dumps(record))
    assert {status.name: status.state for status in clip_status(path)}["tracking"] == "to do"
    assert_same_clip(prepare(video, path, SETTINGS), unbroken)


def test_an_imported_clip_gives_nothing_to_a_prepared_one(video, unbroken, tmp_path):
    path = tmp_path / "clip"
    clip = prepare(video, path, SETTINGS)
    told = json.loads((path / "clip.json").read_text())
    told["stages"]["import"] = told["stages"]["decode"]
    (path / "clip.json").write_text(json.dumps(told))
    np.save(path / "poses.npy", clip.poses + 1)
    ran = []
    prepare(video, path, SETTINGS, overwrite=True, progress=lambda stage, *_: ran.append(stage))
    assert_same_clip(open_clip(path), unbroken)


@pytest.mark.refuses
def test_two_programs_do_not_write_one_clip(video, tmp_path):
    message = "another program is writing"
    with ClipWriter(tmp_path / "clip", keep=True), pytest.raises(UsageError, match=message):
        prepare(video, tmp_path / "clip", SETTINGS)


def test_what_was_noted_half_is_not_believed(tmp_path):
    with ClipWriter(tmp_path / "clip", keep=True) as writer:
        work = Workspace(
            video=tmp_path, settings=SETTINGS, writer=writer,
            progress=lambda *_: None, warn=lambda _: None,
        )  # fmt: skip
        whole = StageRecord(settings={}, input_hash="x").model_dump_json()
        (writer.scratch_folder / "decode.json").write_text(whole[:-3])
        assert work.read_record("decode") is None
        (writer.scratch_folder / "decode.json").write_text(whole)
        assert work.read_record("decode") is not None


def test_the_pipeline_has_a_status_for_each_stage(unbroken):
    told = clip_status(unbroken.path)
    assert [status.name for status in told] == list(pipeline.STAGES)
    assert sum(status.seconds for status in told) > 0
