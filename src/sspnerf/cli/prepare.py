"""The verb `prepare`."""

from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table
from tyro.conf import Positional

from sspnerf.config import PrepareConfig
from sspnerf.console import err, out, stage_bars, warn
from sspnerf.errors import UsageError

# Settings of a part appear without the part's name: --size, not --settings.size.
Inline = tyro.conf.arg(name="")


def prepare(
    video: Positional[Path | None] = None,
    clip: Positional[Path | None] = None,
    /,
    settings: Annotated[PrepareConfig, Inline] = PrepareConfig(),  # noqa: B008 - frozen
    overwrite: bool = False,
    status: Path | None = None,
) -> None:
    """Turn a video of one talking person into a clip.

    The same command again goes on where it was stopped.

    Args:
        video: Any video file that shows one person, with or without sound.
        clip: Folder to write.
        settings: Size, frame rate, crop, parser, speech features.
        overwrite: Replace the folder if it exists; what has not changed is kept.
        status: Say how far this clip is prepared, and do nothing.
    """
    if status is not None:
        _show_status(status)
        return
    if video is None or clip is None:
        raise UsageError("prepare needs a video and a clip", "sspnerf prepare VIDEO CLIP")
    from sspnerf.prepare.pipeline import prepare as run_prepare

    try:
        with stage_bars() as advance:
            prepared = run_prepare(
                video, clip, settings, overwrite=overwrite, progress=advance, warn=warn
            )
    except KeyboardInterrupt:
        err.print("kept; the same command goes on", soft_wrap=True)
        raise
    manifest = prepared.manifest
    lost = int(manifest.frames - prepared.valid.sum())
    out.print(
        f"clip: {clip} ({manifest.frames} frames, {manifest.width}x{manifest.height}, "
        f"{manifest.frame_rate_hz:g} frames/s, face not found in {lost})",
        soft_wrap=True,
    )
    out.print(f"look at: {clip / 'prepare.html'}", soft_wrap=True)


def _show_status(clip: Path) -> None:
    from sspnerf.prepare.status import clip_status

    table = Table("stage", "state", "frames", "seconds")
    stages = clip_status(clip)
    for stage in stages:
        frames = f"{stage.frames} of {stage.of}" if stage.frames else ""
        seconds = f"{stage.seconds:.1f}" if stage.state == "done" else ""
        table.add_row(stage.name, stage.state, frames, seconds)
    out.print(table)
    for line in dict.fromkeys(line for stage in stages for line in stage.warnings):
        warn(line)
