"""The verb `synth`."""

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from sspnerf.config import SynthConfig
from sspnerf.console import out, progress_bar

# Settings of a part appear without the part's name: --size, not --settings.size.
Inline = tyro.conf.arg(name="")


def synth(
    clip: Positional[Path],
    /,
    settings: Annotated[SynthConfig, Inline] = SynthConfig(),  # noqa: B008 - frozen
    overwrite: bool = False,
) -> None:
    """Make a clip of a synthetic speaker, with the truth of everything in it.

    Args:
        clip: Folder to write.
        settings: What is said, and how it is filmed.
        overwrite: Replace the folder if it exists.
    """
    from sspnerf.synth.writer import write_synthetic_clip

    with progress_bar("synth") as advance:
        write_synthetic_clip(clip, settings, overwrite=overwrite, progress=advance)
    out.print(f"clip: {clip}", soft_wrap=True)
