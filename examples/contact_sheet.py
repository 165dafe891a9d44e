"""A few frames of a film in one picture, to look at or to put into a document.

python examples/contact_sheet.py FILM.mp4 SHEET.png [COLUMNS]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from sspnerf.media.video import probe_video, read_frames

columns = int(sys.argv[3]) if len(sys.argv) > 3 else 8
film, sheet = Path(sys.argv[1]), Path(sys.argv[2])
info = probe_video(film)
wanted = (np.arange(columns) + 0.5) * info.duration_s / columns
chosen = []
for time_s, frame in read_frames(film):
    if len(chosen) < columns and time_s >= wanted[len(chosen)]:
        chosen.append(frame)
Image.fromarray(np.concatenate(chosen, axis=1)).save(sheet)
