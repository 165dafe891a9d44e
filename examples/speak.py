"""Let a portrait speak from Python, frame by frame.

python examples/speak.py RUN SPEECH FILM.mp4
"""

import sys

import sspnerf

portrait = sspnerf.load_portrait(sys.argv[1])
film = sspnerf.speak(portrait, sys.argv[2])
for count, _frame in enumerate(film, start=1):  # (height, width, 3) uint8
    if count == 3:
        break  # nothing further is rendered
film.save(sys.argv[3])
sys.stdout.write(f"{len(film)} frames at {portrait.info.frame_rate_hz:g} frames/s\n")
