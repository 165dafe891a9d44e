"""The verb `render`."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from sspnerf.console import out, progress_bar
from sspnerf.errors import UsageError


def render(
    run: Positional[Path],
    speech: Positional[Path],
    film: Positional[Path],
    /,
    show: Literal["color", "semantics", "depth", "accumulation", "normals"] = "color",
    arrays: Path | None = None,
    poses: Path | None = None,
    torso: Literal["tracked", "follow"] | None = None,
    feature_file: Path | None = None,
    overwrite: bool = False,
    jobs: int | None = None,
) -> None:
    """Let a portrait say a recording.

    Args:
        run: Folder of the run.
        speech: Any sound or video file.
        film: The mp4 to write.
        show: What the film shows: the picture, or a map of what was rendered.
        arrays: Folder for each frame's color, labels, accumulation, distance as .npz.
        poses: Head poses instead of the clip's: .npy, camera_to_world (frames, 4, 4).
        torso: As tracked in the clip (the default), or following the head (with --poses always).
        feature_file: The recording's features as .npy, for a portrait trained with brought ones.
        overwrite: Replace the film and the arrays if they exist.
        jobs: Frames rendered at once, which share the cores (the default: one per core).
    """
    if film.exists() and not overwrite:
        raise UsageError(f"{film} exists already", "choose another name or pass --overwrite")
    from sspnerf.render.film import read_poses, speak
    from sspnerf.render.portrait import load_portrait

    head = None if poses is None else read_poses(poses)
    spoken = speak(load_portrait(run), speech, poses=head, torso=torso, feature_file=feature_file)
    with progress_bar("render") as advance:
        spoken.save(
            film, show=show, arrays=arrays, overwrite=overwrite, jobs=jobs, progress=advance
        )
    out.print(f"film: {film} ({spoken.frames} frames)", soft_wrap=True)
    if arrays is not None:
        out.print(f"arrays: {arrays}", soft_wrap=True)
