"""Raw video -> clip: what each stage of `sspnerf prepare` does (docs/prepare.md)."""

import importlib.util

from sspnerf.errors import UsageError

# Libraries of the extra `prepare`, by the name they are imported with.
EXTRA = {
    "cv2": "opencv-contrib-python",
    "mediapipe": "mediapipe",
    "pooch": "pooch",
    "threadpoolctl": "threadpoolctl",
}

for _library, _package in EXTRA.items():
    if importlib.util.find_spec(_library) is None:
        raise UsageError(
            f"prepare needs {_package}, which is not installed", 'pip install "sspnerf[prepare]"'
        )
