"""Scores as lines that people read."""

from sspnerf.evaluate.held_out import LANDMARKS_NOT_ASKED, Scores

NO_PARSING = "no parsing"


def score_lines(scores: Scores) -> list[tuple[str, str]]:
    """Name every measure, its unit and its better direction, and write down its value."""
    parsing = scores.mean_iou is not None
    still = "the mouth does not move" if parsing else NO_PARSING
    lines = [
        ("PSNR, full portrait (dB, higher is better)", f"{scores.psnr:.2f}"),
        ("PSNR, lips + teeth (dB)", _shown(scores.psnr_lips, 2, "no lips seen")),
        ("PSNR, neck + torso (dB)", _shown(scores.psnr_torso, 2, "not seen")),
        ("PSNR, border of head and torso (dB)", _shown(scores.psnr_border, 2, "not seen")),
        ("PSNR, silhouette (dB)", _shown(scores.psnr_silhouette, 2, "not seen")),
        ("PSNR, mouth box (dB)", _shown(scores.psnr_mouth, 2, "no lips seen")),
        ("SSIM, full portrait (higher is better)", f"{scores.ssim:.4f}"),
        (
            "mouth opening against truth (r, higher is better)",
            _shown(scores.mouth_agreement, 2, still),
        ),
        ("mean IoU of labels (higher is better)", _shown(scores.mean_iou, 3, NO_PARSING)),
    ]
    if scores.landmarks_missing != LANDMARKS_NOT_ASKED:
        distance = _shown(scores.landmark_distance, 2, "not measured")
        lines.append(("landmark distance of the lips (px, lower is better)", distance))
    return lines


def _shown(value: float | None, decimals: int, otherwise: str) -> str:
    return otherwise if value is None else f"{value:.{decimals}f}"
