"""Raw video -> clip: the stages, in order, and which of them are still to be done."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from sspnerf.config import PrepareConfig
from sspnerf.data.clip import Clip, open_clip
from sspnerf.data.clip_writer import ClipWriter
from sspnerf.data.manifest import ClipManifest, StageRecord
from sspnerf.data.speech_features import check_can_hear
from sspnerf.errors import ClipError
from sspnerf.media.video import probe_video
from sspnerf.perception.models import model_path
from sspnerf.prepare.found import Faces, Features, Sound, Take, Track
from sspnerf.prepare.framing import check_crop
from sspnerf.prepare.masks import one_thread_each
from sspnerf.prepare.parsers import parser_models
from sspnerf.prepare.stages import (
    background,
    checks,
    decode,
    features,
    landmarks,
    parsing,
    preview,
    silhouette,
    speech,
    torso,
    tracking,
)
from sspnerf.prepare.workspace import (
    Progress,
    Scalar,
    Stage,
    Warn,
    Workspace,
    source_hash,
    stage_keys,
    write_text,
)

STAGES: dict[str, Stage] = {
    "decode": decode.STAGE,
    "landmarks": landmarks.STAGE,
    "tracking": tracking.STAGE,
    "speech": speech.STAGE,
    "features": features.STAGE,
    "silhouette": silhouette.STAGE,
    "background": background.STAGE,
    "parsing": parsing.STAGE,
    "torso": torso.STAGE,
    "checks": checks.STAGE,
    "preview": preview.STAGE,
}


def prepare(
    video: Path,
    path: Path,
    settings: PrepareConfig | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    warn: Warn | None = None,
) -> Clip:
    """Turn a video of one talking person into a clip.

    What is done stays, in `.NAME.partial`, when the program is stopped or killed: the same call
    goes on where it was. A clip that is overwritten gives what has not changed to the new one.
    Frames are streamed from and to disk.

    Args:
        video: Of one person, with a fixed camera.
        path: Folder to make.
        settings: `PrepareConfig()` if None.
        overwrite: Whether an existing clip is replaced (when the new one is whole).
        progress: Called with a stage's name, how much of it is done and how much there is.
        warn: Called with one line for each thing that is not as it should be, but no reason to
            stop.

    Returns:
        The clip, opened.

    Raises:
        MediaError: If the video cannot be read, or no frame shows a face.
        UsageError: If the clip exists, another program is writing it, or an extra is not installed.
        SspnerfError: If a model file cannot be had.
    """
    video, settings = Path(video), settings or PrepareConfig()
    info = probe_video(video)
    if settings.crop is not None:
        check_crop(settings.crop, info.width, info.height)
    check_can_hear(settings)
    for name in parser_models(settings.parser):
        # A file that cannot be had is better known before the first minute of work.
        model_path(name)
    with ClipWriter(path, overwrite=overwrite, keep=True) as writer:
        work = Workspace(
            video=video,
            settings=settings,
            writer=writer,
            progress=progress or (lambda *_: None),
            warn=warn or (lambda _: None),
        )
        try:
            planned = stage_keys(STAGES, settings, source_hash(video))
            _take_over(work, planned)
            note_plan(work.scratch_folder / "plan.json", planned)
            _run(work, planned)
        except BaseException:
            if not any(work.read_record(name) for name in STAGES):
                writer.discard()
            raise
        return writer.commit(_manifest(work))


def _take_over(work: Workspace, planned: Mapping[str, StageRecord]) -> None:
    """Begin with what a clip holds that is to be replaced, where nothing was begun yet."""
    if any(work.read_record(name) for name in STAGES) or not work.writer.path.exists():
        return
    try:
        there = open_clip(work.writer.path).manifest.stages
    except ClipError:
        return
    # An imported clip may hold the records of the clip that it was exported from.
    is_prepared = set(there) <= set(STAGES)
    if is_prepared and any(
        name in there and there[name].input_hash == planned[name].input_hash for name in STAGES
    ):
        work.writer.take_over()
        for name, record in there.items():
            write_text(work.scratch_folder / f"{name}.json", record.model_dump_json())


def stages_to_run(
    stages: Mapping[str, Stage],
    planned: Mapping[str, StageRecord],
    done: Mapping[str, StageRecord],
    files: set[str],
) -> set[str]:
    """Say which stages have to run.

    A stage runs if it was never ended with this input, if a file of the clip that it leaves is
    missing, or if a stage that runs reads what it left beside the clip and that is gone.

    Args:
        stages: In order.
        planned: What each is made from now.
        done: What was noted at their ends.
        files: All files that are there: of the clip, within its folder, and scratch arrays.
    """
    running: set[str] = set()
    for name, stage in reversed(list(stages.items())):
        record = done.get(name)
        is_same = record is not None and record.input_hash == planned[name].input_hash
        read = {array for other in running for array in stages[other].reads}
        wanted = {*stage.leaves, *(f"{array}.npy" for array in stage.scratch if array in read)}
        wanted |= set(record.leaves) if record else set()
        if not is_same or not files.issuperset(wanted):
            running.add(name)
    return running


def _run(work: Workspace, planned: Mapping[str, StageRecord]) -> None:
    records = {name: work.read_record(name) for name in STAGES}
    done = {
        name: record
        for name, record in records.items()
        if record is not None and is_understood(STAGES[name], record)
    }
    files = {
        file.relative_to(folder).as_posix()
        for folder in (work.writer.partial, work.scratch_folder)
        for file in folder.rglob("*")
    }
    running = stages_to_run(STAGES, planned, done, files)
    with one_thread_each():
        for name, stage in STAGES.items():
            if name in running:
                work.begin(name, stage, planned[name].input_hash)
                work.end(name, stage.run(work), planned[name])
            else:
                work.adopt(name, stage, done[name])


def is_understood(stage: Stage, record: StageRecord) -> bool:
    """Say whether this version reads what a stage has found out."""
    try:
        stage.found.model_validate(record.found)
    except ValidationError:
        return False
    return True


def note_plan(path: Path, planned: Mapping[str, StageRecord]) -> None:
    """Write down what this run is about, for `sspnerf prepare --status`."""
    hashes: dict[str, Scalar] = {name: record.input_hash for name, record in planned.items()}
    write_text(path, StageRecord(settings=hashes, input_hash="").model_dump_json())


def _manifest(work: Workspace) -> ClipManifest:
    take, track = work.found(Take), work.found(Track)
    side = work.settings.size
    return ClipManifest(
        source=work.video.name,
        frame_rate_hz=take.frame_rate_hz,
        frames=take.frames,
        width=side,
        height=side,
        camera=track.camera,
        crop=take.crop,
        source_size=(take.source_width, take.source_height),
        cuts=work.found(Faces).cuts,
        landmark_scheme="mediapipe478",
        reference_frame=track.reference_frame,
        has_speech=work.found(Sound).has_speech,
        features=work.found(Features).features,
        stages=work.records,
    )
