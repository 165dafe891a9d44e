"""Raw video -> clip: the stages, in order, and what each of them does (docs/prepare.md)."""

from collections.abc import Callable
from pathlib import Path

from sspnerf.config import PrepareConfig
from sspnerf.data.clip import Clip, ClipWriter
from sspnerf.data.manifest import Camera, ClipManifest
from sspnerf.media.video import probe_video
from sspnerf.perception.models import MODEL_FILES, model_path
from sspnerf.prepare import stages
from sspnerf.prepare.workspace import Progress, Scalar, Warn, Workspace

Stage = Callable[[Workspace], dict[str, Scalar]]

STAGES: dict[str, Stage] = {
    "decode": stages.decode,
    "observe": stages.observe,
    "background": stages.background,
    "tracking": stages.tracking,
    "parsing": stages.parsing,
    "torso": stages.torso,
    "speech": stages.speech,
    "preview": stages.preview,
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

    Frames are streamed from and to disk; what grows with the length is the fit of the poses, by
    about 2 MB per second of video.

    Args:
        video: One person, one take, fixed camera.
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
        UsageError: If the clip exists, or an extra is not installed.
        SspnerfError: If a model file cannot be had.
    """
    settings = settings or PrepareConfig()
    info = probe_video(video)
    with ClipWriter(path, overwrite=overwrite) as writer:
        for name in MODEL_FILES:
            # A file that cannot be had is better known before the first minute of work than after.
            model_path(name)
        work = Workspace(
            video=Path(video),
            settings=settings,
            writer=writer,
            progress=progress or (lambda *_: None),
            warn=warn or (lambda _: None),
            info=info,
            frame_rate_hz=settings.frame_rate_hz or info.frame_rate_hz,
        )
        for name, stage in STAGES.items():
            work.record(name, stage(work))
        work.discard_scratch()
        return writer.commit(_manifest(work))


def _manifest(work: Workspace) -> ClipManifest:
    camera = work.intrinsics
    return ClipManifest(
        source=work.video.name,
        frame_rate_hz=work.frame_rate_hz,
        frames=work.frames,
        width=camera.width,
        height=camera.height,
        camera=Camera(fx=camera.fx, fy=camera.fy, cx=camera.cx, cy=camera.cy),
        crop=work.crop,
        landmark_scheme="mediapipe478",
        reference_frame=work.reference_frame,
        has_speech=work.has_speech,
        features=work.features,
        stages=work.records,
    )
