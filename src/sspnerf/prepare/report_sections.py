"""The report's evidence: what is drawn and told about each part of a clip."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.prepare.checks import (
    BACKGROUND_CHANGES,
    CAMERA_MOVES,
    DARK,
    FAR_TURN_DEG,
    LIGHT_CHANGES,
    LOW_CONFIDENCE,
    Measured,
    Remark,
)
from sspnerf.prepare.measures import SOUND_BLOCK_S, places_in_camera, turn_angles
from sspnerf.prepare.poses import Poses
from sspnerf.prepare.report import Section
from sspnerf.prepare.report_plots import (
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    Curve,
    Panel,
    TimeAxis,
    label_plot,
    lag_plot,
    time_plot,
)
from sspnerf.prepare.steadiness import Jitter
from sspnerf.prepare.stretches import moment

# Of the clip is shown enlarged, where MediaPipe's poses shake most, s.
ENLARGED_S = 2.0
# Cuts that are named one by one.
FEW_CUTS = 4
_AXES = (BLUE, ORANGE, GREEN)
_TURNS = ("yaw", "pitch", "roll")
_PLACES = ("right", "up", "nearer")


class Evidence(NamedTuple):
    """Everything that sections are made from, besides the measures."""

    measured: Measured
    remarks: list[Remark]
    axis: TimeAxis
    poses: Poses
    raw_poses: Poses | None
    """MediaPipe's own, where they are still at hand."""
    torso_poses: Poses
    reference: int
    reprojection_px: float
    """Over the whole clip, as `tracking` found it."""
    chest: NDArray[np.float64]
    """A point of the torso, world cm. Shape (3,)."""
    steadiness: tuple[Jitter, Jitter, float] | None
    """Of MediaPipe's poses, of the clip's, and by how many frames these lag."""
    area_frames: NDArray[np.int64]
    areas: NDArray[np.float64]
    sync: str
    """About the sound's offset, in words."""
    sync_curve: NDArray[np.float64] | None
    """Offset in s, correlation. Shape (lags, 2)."""

    def marked(self, about: str, word: str = "") -> tuple[range, ...]:
        """Collect the frames of remarks about something."""
        return tuple(
            part
            for remark in self.remarks
            if remark.about == about and word in remark.sentence
            for part in remark.stretches
        )


def sections(of: Evidence) -> list[Section]:
    """Make all sections, in the order of the page."""
    parts = [_head(of), _steady(of), _fit(of), _torso(of), _labels(of), _picture(of), _sound(of)]
    return [part for part in parts if part is not None]


def _curves(names: tuple[str, ...], values: NDArray[np.float64]) -> list[Curve]:
    return [Curve(n, values[:, k], _AXES[k]) for k, n in enumerate(names)]


def _head(of: Evidence) -> Section:
    turns, places = turn_angles(of.poses), places_in_camera(of.poses, np.zeros(3))
    panels = [
        Panel("head turned, °", _curves(_TURNS, turns), of.marked("head", "turned")),
        Panel(
            "head moved, cm",
            _curves(_PLACES, places - places[of.reference]),
            of.marked("head", "leaves"),
        ),
    ]
    return Section(
        "head", "The head's pose",
        f"How the head is turned against the camera, and where it is, compared with frame "
        f"{of.reference}. Yaw: to the picture's right; pitch: down; roll: counter-clockwise. "
        f"The portrait can turn as far as it was seen to turn. Up to {FAR_TURN_DEG:.0f} degrees "
        "are safe. Gray: no face; dashed: cuts; tinted: remarks.",
        (time_plot(panels, of.axis, title="The head's turn and place over time"),),
    )  # fmt: skip


def _steady(of: Evidence) -> Section | None:
    if of.raw_poses is None or of.steadiness is None:
        return None
    raw, refined, late = of.steadiness
    first, stop = shakiest(of.raw_poses, of.axis)
    frames = np.arange(first, stop)
    axis = of.axis._replace(first=first, frames=stop, lost=())
    panels = []
    for label, names, before, after in (
        ("turned, °", _TURNS, turn_angles(of.raw_poses), turn_angles(of.poses)),
        ("moved, cm", _PLACES, places_in_camera(of.raw_poses, np.zeros(3)),
         places_in_camera(of.poses, np.zeros(3))),
    ):  # fmt: skip
        # MediaPipe's head is another: only the motion can be compared.
        begin = [np.median(values[first:stop], axis=0) for values in (before, after)]
        curves = [
            Curve(name if not pale else "", values[first:stop, k] - middle[k], _AXES[k],
                  frames, pale=pale)
            for values, middle, pale in ((before, begin[0], True), (after, begin[1], False))
            for k, name in enumerate(names)
        ]  # fmt: skip
        panels.append(Panel(label, curves))
    text = (
        "Head poses as the landmarks' network says them (pale), and as they are in the clip, after "
        "all frames were fitted at once. Speech needs no motion above 6 Hz: there, less is better. "
        f"The clip's poses lag by {late:.2f} frames. Enlarged: the "
        f"{(stop - first) / of.axis.frame_rate_hz:.1f} s that shake most, about their middle."
    )
    title = "Poses before and after they were refined, enlarged"
    plot = time_plot(panels, axis, title=title)
    return Section(
        "steady", "How steady the head is", text, (plot,), _steadiness_table(raw, refined)
    )


def _steadiness_table(raw: Jitter, refined: Jitter) -> tuple[tuple[str, ...], ...]:
    degrees = 180 / np.pi
    kinds = (
        ("turn, °/s²", "rotation", degrees),
        ("sideways, cm/s²", "sideways", 1.0),
        ("depth, cm/s²", "depth", 1.0),
        ("turn above 6 Hz, °/s²", "rotation_shake", degrees),
        ("sideways above 6 Hz, cm/s²", "sideways_shake", 1.0),
        ("depth above 6 Hz, cm/s²", "depth_shake", 1.0),
    )
    rows = [("Acceleration, root mean square", "as seen", "in the clip", "smaller by")]
    for name, field, scale in kinds:
        before, after = (scale * getattr(which, field) for which in (raw, refined))
        ratio = f"{before / after:.1f} x" if after > 0 else "-"
        rows.append((name, _three_digits(before), _three_digits(after), ratio))
    return tuple(rows)


def shakiest(poses: Poses, axis: TimeAxis) -> tuple[int, int]:
    """Find the stretch in which poses shake most.

    Args:
        poses: Shape (frames, 4, 4).
        axis: What the time is.

    Returns:
        First frame, and the one after the last: `ENLARGED_S` seconds or the whole clip.
    """
    length = min(len(poses), max(2, round(ENLARGED_S * axis.frame_rate_hz)))
    bend = np.zeros(len(poses))
    if len(poses) > 2:
        bend[1:-1] = np.square(np.diff(turn_angles(poses), 2, axis=0)).sum(axis=1)
    for cut in axis.cuts:
        bend[cut - 1 : cut + 1] = 0
    total = np.concatenate(([0.0], np.cumsum(bend)))
    first = int((total[length:] - total[:-length]).argmax())
    return first, first + length


def _fit(of: Evidence) -> Section:
    measured = of.measured
    error = np.where(measured.valid, measured.error_px, np.nan)
    curve = Curve("", error, BLUE, keep_peaks=True)
    panel = Panel("error, px", [curve], of.marked("fit"), lowest=0.0)
    share = 100 * of.reprojection_px / max(measured.face_height, 1e-6)
    return Section(
        "fit", "How well one face fits all frames",
        "Distance of landmarks on bone from where the face at rest appears with the pose of the "
        f"frame (root mean square). Over the clip: {of.reprojection_px:.2f} px of {measured.size}, "
        f"{share:.2f} % of the face's height; .2 to .5 % is usual. Peaks are fast turns, mistakes "
        "of the landmarks' network, or something before the face.",
        (time_plot([panel], of.axis, title="Reprojection error over time"),),
    )  # fmt: skip


def _torso(of: Evidence) -> Section:
    if of.measured.torso_confidence is None:
        text = (
            "The torso could not be followed: its pose is a guess from the head's. Shoulders will "
            "look soft. A chest in the picture, in clothes with folds or a pattern, helps."
        )
        return Section("torso", "The torso's pose", text)
    against = of.poses[of.reference]
    turns = turn_angles(of.torso_poses, against=against)
    places = places_in_camera(of.torso_poses, of.chest)
    confidence = Curve("", of.measured.torso_confidence, PINK)
    panels = [
        Panel("torso turned, °", _curves(_TURNS, turns)),
        Panel("torso moved, cm", _curves(_PLACES, places - places[of.reference])),
        Panel("confidence", [confidence], of.marked("torso"), lowest=0.0, highest=1.05, height=0.8),
    ]
    return Section(
        "torso", "The torso's pose",
        f"Against frame {of.reference}. Confidence 1: the cloth was found again; below "
        f"{LOW_CONFIDENCE:g}, the pose is interpolated or a guess. Mean: "
        f"{of.measured.torso_confidence.mean():.2f}.",
        (time_plot(panels, of.axis, title="The torso's turn, place and confidence over time"),),
    )  # fmt: skip


def _labels(of: Evidence) -> Section:
    flicker = of.measured.flicker
    told = "" if flicker is None else (
        f" Labels of {100 * flicker:.1f} % of the person's pixels change from frame to frame "
        "without motion that explains it (flicker), mostly by half a pixel at borders."
    )  # fmt: skip
    return Section(
        "labels", "Labels",
        "How much of the picture each class has. Curves should move with the person, not jump."
        + told,
        (label_plot(of.area_frames, of.areas, of.axis),),
    )  # fmt: skip


def _picture(of: Evidence) -> Section:
    measured = of.measured
    sampled = measured.sampled
    panels = [
        Panel("face, gray", [Curve("", measured.level, BLUE, sampled)], lowest=0.0, highest=255.0,
              height=0.8),
        Panel("camera, %", [Curve("", 100 * measured.camera_shift, BLUE, sampled)],
              of.marked("picture", "camera moves"), lowest=0.0,
              highest=_at_least(100 * measured.camera_shift, 200 * CAMERA_MOVES), height=0.8),
        Panel("light, %", [Curve("", 100 * measured.light, BLUE, sampled)],
              of.marked("picture", "light changes"),
              lowest=-_at_least(100 * measured.light, 100 * LIGHT_CHANGES),
              highest=_at_least(100 * measured.light, 100 * LIGHT_CHANGES), height=0.8),
        Panel("rest, levels", [Curve("", measured.background_change, BLUE, sampled)],
              of.marked("picture", "background changes"), lowest=0.0,
              highest=_at_least(measured.background_change, BACKGROUND_CHANGES), height=0.8),
        Panel("unlikeness", [Curve("", measured.strangeness, BLUE, measured.patched)],
              of.marked("picture", "before the face"), lowest=0.0,
              highest=_at_least(measured.strangeness, 4.0), height=0.8),
    ]  # fmt: skip
    return Section(
        "picture", "Picture, camera and light",
        f"From the top: mean gray of the face (dark below {DARK:.0f} of 255); by how much the "
        "background lies elsewhere than in the middle of the take, % of the picture's width; how "
        "much lighter it is; what neither explains; and how unlike all other times the face looks "
        "(3 and more for long: something may be before it).",
        (time_plot(panels, of.axis, title="Light, camera and covered face over time"),),
    )  # fmt: skip


def _at_least(values: NDArray[np.float64], least: float) -> float:
    return 1.1 * max(float(np.nanmax(np.abs(values), initial=0.0)), least)


def _sound(of: Evidence) -> Section:
    measured = of.measured
    lips = Panel("lips open, %", [Curve("", 100 * measured.opening, ORANGE)], lowest=0.0)
    if measured.loudness_db is None:
        plot = time_plot([lips], of.axis, title="Opening of the lips over time")
        return Section("sound", "Sound and lips", "The clip has no sound. " + of.sync, (plot,))
    rate = of.axis.frame_rate_hz
    places = (np.arange(len(measured.loudness_db)) + 0.5) * SOUND_BLOCK_S * rate
    loud = Curve("", np.maximum(measured.loudness_db, -80.0), BLUE, (places - 0.5), keep_peaks=True)
    panels = [Panel("sound, dB", [loud], of.marked("sound"), lowest=-80.0, highest=0.0), lips]
    plots = [time_plot(panels, of.axis, title="Loudness and opening of the lips over time")]
    if of.sync_curve is not None and len(of.sync_curve) > 1:
        plots.append(lag_plot(of.sync_curve[:, 0], of.sync_curve[:, 1]))
    return Section(
        "sound", "Sound and lips",
        "Loudness (0 dB is the loudest that a file can hold) and the gap between the lips, % of "
        f"the face's height. They should rise and fall together. {of.sync}",
        tuple(plots),
    )  # fmt: skip


def sync_said(offset_s: float | None, correlation: float, reason: str, *, corrected: bool) -> str:
    """Say what is known of the sound's offset against the lips.

    Args:
        offset_s: Positive: late; None if not known.
        correlation: Of lips and loudness at the best offset.
        reason: Why it is not known.
        corrected: Whether the sound was shifted by it.
    """
    if offset_s is None:
        return f"The sound's offset against the lips is not known: {reason}." if reason else ""
    side = "late" if offset_s > 0 else "early"
    was = "was" if corrected else "is"
    done = "; that is corrected" if corrected else ""
    return (
        f"The sound {was} {abs(1000 * offset_s):.0f} ms {side}{done} (correlation "
        f"{correlation:.2f} there; .2 to .5 is usual)."
    )


def facts(of: Evidence) -> list[tuple[str, str]]:
    """Say what the clip is, in a few figures."""
    measured = of.measured
    seconds = measured.frames / measured.frame_rate_hz
    lost = int((~measured.valid).sum())
    cuts = ", ".join(moment(cut / measured.frame_rate_hz) for cut in measured.cuts[:FEW_CUTS])
    more = len(measured.cuts) - FEW_CUTS
    return [
        ("Length", moment(seconds)),
        ("Frames", f"{measured.frames} at {measured.frame_rate_hz:.5g} Hz"),
        ("Size", f"{measured.size} px from {measured.crop_side} px"),
        ("Face", f"{measured.face_height:.0f} px high"),
        ("Frames without a face", str(lost)),
        ("Cuts", f"{cuts} and {more} more" if more > 0 else cuts or "none"),
        ("Farthest turn", f"{measured.turned_deg.max(initial=0.0):.0f} degrees"),
        ("Sound", "none" if measured.loudness_db is None else "yes"),
    ]  # fmt: skip


def _three_digits(value: float) -> str:
    """Write a positive number with three digits or more, never with an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
