"""Learn one person's talking portrait from a short video, then let it speak any recording.

    video.mp4 --prepare--> clip/ --train--> run/ --render--> film.mp4
                                              '-- evaluate --> figures, side-by-side film

    import sspnerf

    portrait = sspnerf.load_portrait("runs/may")
    film = sspnerf.speak(portrait, "hello.wav")  # iterate over it to render frame by frame
    film.save("hello.mp4")

Names are found on first use, so that `import sspnerf` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sspnerf.render.film import Film, speak
    from sspnerf.render.portrait import Portrait, load_portrait

__version__ = "0.1.0"
__all__ = ["Film", "Portrait", "__version__", "load_portrait", "speak"]

_HOMES = {
    "Film": "sspnerf.render.film",
    "Portrait": "sspnerf.render.portrait",
    "load_portrait": "sspnerf.render.portrait",
    "speak": "sspnerf.render.film",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """Import a public name's module when the name is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sspnerf' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
