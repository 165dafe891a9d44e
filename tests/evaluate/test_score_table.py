"""What `sspnerf evaluate` prints where something could not be measured."""

from sspnerf.evaluate.held_out import LANDMARKS_NOT_ASKED, Scores
from sspnerf.evaluate.score_table import score_lines

SCORES = Scores(
    psnr=30.126, ssim=0.91234, psnr_mouth=25.5, psnr_lips=24.0, psnr_torso=28.0, psnr_border=27.0,
    psnr_silhouette=23.0, mouth_agreement=0.5, mean_iou=0.8, iou={"skin": 0.8},
    landmark_distance=1.236, landmarks_missing=None, frames=3,
)  # fmt: skip


def value(scores, name):
    (found,) = [value for line, value in score_lines(scores) if name in line]
    return found


def test_every_measure_has_its_line():
    assert value(SCORES, "full portrait (dB") == "30.13"
    assert value(SCORES, "border") == "27.00"
    assert value(SCORES, "landmark distance") == "1.24"


def test_a_portrait_without_parsing_says_so():
    scores = SCORES._replace(mean_iou=None, iou={}, mouth_agreement=None)
    assert value(scores, "mean IoU") == value(scores, "mouth opening") == "no parsing"


def test_a_mouth_that_does_not_move_is_not_taken_for_no_parsing():
    assert value(SCORES._replace(mouth_agreement=None), "mouth opening").endswith("does not move")


def test_a_border_that_is_never_seen_says_so():
    assert value(SCORES._replace(psnr_border=None), "border") == "not seen"


def test_a_landmark_distance_is_listed_when_it_was_asked_for():
    failed = SCORES._replace(landmark_distance=None, landmarks_missing="no face")
    assert value(failed, "landmark distance") == "not measured"
    unasked = failed._replace(landmarks_missing=LANDMARKS_NOT_ASKED)
    assert not [line for line, _ in score_lines(unasked) if "landmark" in line]
