"""Measuring a run: frames without a tracked face are shown, and not counted."""

import shutil

import numpy as np

from sspnerf.evaluate.held_out import evaluate
from sspnerf.media.video import read_frames


def test_a_frame_without_a_tracked_face_is_shown_but_not_counted(trained_run, tiny_clip, tmp_path):
    run, clip = tmp_path / "run", tmp_path / "clip"
    shutil.copytree(trained_run, run)
    shutil.copytree(tiny_clip.path, clip)
    valid = np.array(tiny_clip.valid)
    valid[-1] = False
    np.save(clip / "valid.npy", valid)
    assert evaluate(run, clip=tiny_clip.path).frames == 2
    assert evaluate(run, clip=clip).frames == 1
    assert len(list(read_frames(run / "evaluation" / "side_by_side.mp4"))) == 2
