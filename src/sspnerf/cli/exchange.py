"""The verbs `import` and `export`: AD-NeRF's data layout, in and out."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from sspnerf.console import out, progress_bar, warn


def import_(
    folder: Positional[Path],
    clip: Positional[Path],
    /,
    size: int | None = None,
    frame_rate_hz: float | None = None,
    overwrite: bool = False,
) -> None:
    """Turn a data folder of AD-NeRF, RAD-NeRF or ER-NeRF into a clip.

    Args:
        folder: Holds transforms_train.json, ori_imgs, parsing and so on.
        clip: Folder to write.
        size: Side of the square frames, px; as the pictures are if not given.
        frame_rate_hz: Of the pictures; 25 if not given.
        overwrite: Replace the clip if it exists.
    """
    from sspnerf.exchange.importing import import_clip

    with progress_bar("import") as advance:
        imported = import_clip(
            folder, clip, size=size, frame_rate_hz=frame_rate_hz, overwrite=overwrite,
            progress=advance, warn=warn,
        )  # fmt: skip
    manifest = imported.manifest
    out.print(
        f"clip: {clip} ({manifest.frames} frames, {manifest.width}x{manifest.height}, "
        f"{manifest.frame_rate_hz:g} frames/s)",
        soft_wrap=True,
    )


def export(
    clip: Positional[Path],
    folder: Positional[Path],
    /,
    layout: Literal["ernerf", "radnerf", "adnerf"] = "ernerf",
    overwrite: bool = False,
) -> None:
    """Write a clip as a data folder of AD-NeRF, RAD-NeRF or ER-NeRF.

    Args:
        clip: Folder of the clip.
        folder: Folder to write.
        layout: Whose program shall read it.
        overwrite: Replace the folder if it exists.
    """
    from sspnerf.exchange.exporting import export_clip

    with progress_bar("export") as advance:
        export_clip(clip, folder, layout=layout, overwrite=overwrite, progress=advance, warn=warn)
    out.print(f"layout: {folder}", soft_wrap=True)
