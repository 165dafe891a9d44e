"""Measuring a run: which frames count, and what is not said of a portrait without parsing."""

import json
import shutil

import numpy as np

from sspnerf.data.semantics import SemanticClass
from sspnerf.evaluate.held_out import Measured, _Tally, evaluate, sheet_frames
from sspnerf.media.video import read_frames
from sspnerf.render.portrait import RenderedFrame


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


def test_a_mouth_that_opens_as_filmed_agrees_but_not_without_parsing():
    """Both learn the same labels; one was never taught them, so what it paints is no measure."""
    found = {}
    for parsing in (True, False):
        tally = _Tally([0, 1, 2], parsing=parsing, lips=None)
        for frame, opening in enumerate((1, 3, 2)):
            labels = np.full((12, 12), SemanticClass.LIP, np.uint8)
            labels[:opening] = SemanticClass.MOUTH_INTERIOR
            picture = np.full((12, 12, 3), 90, np.uint8)
            empty = np.zeros((12, 12), np.float32)
            tally.add(
                Measured(frame, picture, labels, RenderedFrame(picture, labels, empty, empty))
            )
        found[parsing] = tally.scores()
    assert (found[True].mouth_agreement, found[True].mean_iou) == (1.0, 1.0)
    assert (found[False].mouth_agreement, found[False].mean_iou) == (None, None)
    assert found[False].psnr_lips == 60.0


def test_a_portrait_without_parsing_has_no_measure_of_labels(trained_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    info = json.loads((run / "portrait.json").read_text())
    with_parsing = evaluate(run)
    assert with_parsing.mean_iou is not None
    info["config"]["parsing"] = False
    (run / "portrait.json").write_text(json.dumps(info))
    scores = evaluate(run)
    assert (scores.mean_iou, scores.iou, scores.mouth_agreement) == (None, {}, None)
    assert scores.psnr == with_parsing.psnr
    assert scores.psnr_lips == with_parsing.psnr_lips


def test_regions_are_measured_and_written(trained_run):
    scores = evaluate(trained_run)
    written = json.loads((trained_run / "evaluation" / "metrics.json").read_text())
    assert written == scores._asdict()
    for region in ("psnr_lips", "psnr_torso", "psnr_border", "psnr_silhouette"):
        assert 5 < written[region] < 60


def test_the_sheet_spreads_its_frames():
    assert sheet_frames([10, 11, 12, 20, 21, 22, 30]) == [10, 12, 21, 30]
    assert sheet_frames([7, 9]) == [7, 9]
