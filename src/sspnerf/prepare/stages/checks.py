"""Stage `checks`: measure how far the clip can be trusted, warn, and write prepare.html.

Pictures are looked at now and then only: what is wrong for long is found all the same, and the
report costs a second or two.
"""

import platform
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sspnerf.data.manifest import CLIP_SCHEMA_VERSION
from sspnerf.media.audio import read_waveform
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ
from sspnerf.prepare.background import spread_evenly
from sspnerf.prepare.checks import Measured, all_remarks
from sspnerf.prepare.face_frames import FaceBoxes, find_repeated
from sspnerf.prepare.face_regions import CHIN
from sspnerf.prepare.flicker import label_flicker
from sspnerf.prepare.found import Checked, Faces, Sound, Take, TorsoTrack, Track
from sspnerf.prepare.measures import (
    cut_off,
    face_boxes,
    label_areas,
    loudness_db,
    reprojection_error,
    turned_away,
)
from sspnerf.prepare.picture_measures import (
    Background,
    compare_backgrounds,
    face_light,
    face_patch,
    small_background,
    strangeness,
)
from sspnerf.prepare.report import REPORT_NAME, Report, Section, ShownFrame, StageLine, to_html
from sspnerf.prepare.report_frames import ChosenFrame, doubtful_frames, sample_frames, to_jpeg
from sspnerf.prepare.report_plots import TimeAxis, bar_plot, timeline
from sspnerf.prepare.report_sections import Evidence, facts, sections, sync_said
from sspnerf.prepare.rest_face import RIGID_LANDMARKS
from sspnerf.prepare.stages.preview import Painter
from sspnerf.prepare.steadiness import jitter, lag
from sspnerf.prepare.stretches import find_stretches
from sspnerf.prepare.sync import lip_opening
from sspnerf.prepare.torso import BEHIND_CHIN_CM
from sspnerf.prepare.workspace import Stage, Workspace, write_text

# Frames whose pictures are looked at, whose faces are compared, whose labels are counted; pairs in
# which flicker is counted.
LIGHT_FRAMES, PATCH_FRAMES, AREA_FRAMES, FLICKER_PAIRS = 60, 300, 750, 6
# Patches are taken no oftener than this, s.
PATCH_EVERY_S = 0.1
# Faces this near in time are no other time, s.
SAME_TIME_S = 1.0
# What to do where another stage has warned. What `landmarks` warns of has its own remark; what
# `tracking` warns of is good to know.
_ADVICE = {
    "decode": "look at the sample frames: --crop chooses another person, and a file that is cut "
    "off should be copied again",
    "tracking": "harmless, since poses are fitted to pictures that differ; a film of the rate at "
    "which it was taken moves more evenly",
    "speech": "listen to preview.mp4: sound and lips should be in step",
    "background": "film so that the person moves a little, and with room around them",
    "torso": "look at the shoulders in the preview; clothes with folds or a pattern, and a chest "
    "in the picture, help",
}


def run(work: Workspace) -> Checked:
    """Measure, write the page, warn of what is serious."""
    steps = 5
    work.progress("checks", 0, steps)
    measured = _measure(work)
    work.progress("checks", 1, steps)
    evidence = _evidence(work, measured)
    work.progress("checks", 2, steps)
    shown = _draw(work, sample_frames(measured.frames, measured.frame_rate_hz))
    doubtful = _draw(work, doubtful_frames(measured))
    work.progress("checks", 3, steps)
    page = to_html(_report(work, evidence, samples=shown, doubtful=doubtful))
    work.progress("checks", 4, steps)
    write_text(work.writer.partial / REPORT_NAME, page)
    for remark in evidence.remarks:
        if remark.is_serious:
            work.note_warning(remark.sentence)
    work.release()
    work.progress("checks", steps, steps)
    return _found(evidence)


# --- measuring ------------------------------------------------------------------------------------


def _measure(work: Workspace) -> Measured:
    take, side = work.found(Take), work.settings.size
    landmarks, poses = work.array("landmarks"), work.array("poses")
    cuts, valid = work.found(Faces).cuts, np.array(work.array("valid"))
    error = reprojection_error(
        landmarks, work.mesh().vertices, poses, chosen=RIGID_LANDMARKS, intrinsics=work.intrinsics
    )
    heard: dict[str, Any] = {}
    if work.found(Sound).has_speech:
        waveform = read_waveform(work.writer.partial / "speech.wav", SPEECH_SAMPLE_RATE_HZ)
        heard["loudness_db"] = loudness_db(waveform, SPEECH_SAMPLE_RATE_HZ)
        heard["cut_off"] = cut_off(waveform, SPEECH_SAMPLE_RATE_HZ)
    is_seen = work.found(TorsoTrack).is_seen
    confidence = np.asarray(work.array("torso_confidence"), np.float64) if is_seen else None
    return Measured(
        frame_rate_hz=take.frame_rate_hz,
        size=side,
        crop_side=take.crop[2] - take.crop[0],
        cuts=cuts,
        valid=valid,
        face=face_boxes(landmarks, side, side),
        turned_deg=turned_away(poses),
        error_px=error,
        opening=lip_opening(landmarks),
        torso_confidence=confidence,
        flicker=_flicker(work),
        **_light(work),
        **_faces_compared(work),
        **heard,
    )


def _light(work: Workspace) -> dict[str, NDArray[Any]]:
    """Look at some pictures: light on the face, and how the background differs from itself.

    Each piece between cuts is compared with its own middle: a cut may change the camera.
    """
    frames, labels, mask = work.array("frames"), work.array("labels"), work.array("mask")
    sampled = spread_evenly(len(frames), LIGHT_FRAMES)
    lights = [face_light(frames[index], labels[index]) for index in sampled]
    small = [small_background(frames[index], mask[index]) for index in sampled]
    work.release()
    compared = np.full((len(sampled), len(Background._fields)), np.nan)
    piece = np.searchsorted(work.found(Faces).cuts, sampled, side="right")
    for number in np.unique(piece):
        places = np.flatnonzero(piece == number)
        middle = small[places[len(places) // 2]]
        for place in places:
            compared[place] = compare_backgrounds(middle, small[place])
    shift, light, change = compared.T
    return {
        "sampled": sampled,
        "level": np.array([np.nan if seen is None else seen.level for seen in lights]),
        "burnt": np.array([np.nan if seen is None else seen.burnt for seen in lights]),
        "camera_shift": shift,
        "light": light,
        "background_change": change,
    }


def _faces_compared(work: Workspace) -> dict[str, NDArray[Any]]:
    """Compare faces with how they look at other times."""
    rate, valid = work.found(Take).frame_rate_hz, np.array(work.array("valid"))
    frames, landmarks = work.array("frames"), work.array("landmarks")
    every = max(round(PATCH_EVERY_S * rate), -(-len(valid) // PATCH_FRAMES), 1)
    chosen = np.arange(0, len(valid), every)
    chosen = chosen[valid[chosen]]
    patches = []
    for index in chosen:
        patches.append(face_patch(frames[index], landmarks[index]))
        work.release()
    if not patches:
        return {"patched": chosen, "strangeness": np.zeros(0)}
    near = max(1, round(SAME_TIME_S * rate / every))
    return {"patched": chosen, "strangeness": strangeness(np.array(patches), near=near)}


def _flicker(work: Workspace) -> float | None:
    """Count flicker in some pairs of consecutive frames; none of them across a cut."""
    frames, labels = work.array("frames"), work.array("labels")
    firsts = np.setdiff1d(np.arange(len(frames) - 1), np.array(work.found(Faces).cuts) - 1)
    if not len(firsts):
        return None
    chosen = firsts[spread_evenly(len(firsts), FLICKER_PAIRS)]
    shares = [label_flicker(frames[i : i + 2], labels[i : i + 2]).changed for i in chosen]
    work.release()
    return float(np.mean(shares))


# --- the page -------------------------------------------------------------------------------------


def _evidence(work: Workspace, measured: Measured) -> Evidence:
    poses = np.asarray(work.array("poses"), np.float64)
    raw = _optional(work, "raw_poses")
    steadiness = None
    if raw is not None:
        repeated = find_repeated(
            FaceBoxes(work.array("landmarks")), measured.valid, cuts=measured.cuts
        )
        before, after = (
            jitter(which, measured.frame_rate_hz, cuts=measured.cuts, repeated=repeated)
            for which in (raw, poses)
        )
        steadiness = (before, after, lag(raw, poses, cuts=measured.cuts))
    labels = work.array("labels")
    area_frames = spread_evenly(measured.frames, AREA_FRAMES)
    areas = np.array([label_areas(labels[index]) for index in area_frames])
    work.release()
    sound = work.found(Sound)
    lost = find_stretches(~measured.valid, measured.frame_rate_hz, least_s=0, join_s=0)
    return Evidence(
        measured=measured,
        remarks=all_remarks(measured),
        axis=TimeAxis(measured.frame_rate_hz, measured.frames, measured.cuts, lost),
        poses=poses,
        raw_poses=raw,
        torso_poses=np.asarray(work.array("torso_poses"), np.float64),
        reference=work.found(Track).reference_frame,
        reprojection_px=work.found(Track).reprojection_px,
        chest=work.mesh().vertices[CHIN] + np.array([0.0, -7.0, -BEHIND_CHIN_CM]),
        steadiness=steadiness,
        area_frames=area_frames,
        areas=areas,
        sync=sync_said(
            sound.offset_s, sound.correlation, sound.why_unknown, corrected=sound.corrected
        ),
        sync_curve=_optional(work, "sync_curve"),
    )


def _optional(work: Workspace, name: str) -> NDArray[np.float64] | None:
    """Return a scratch array, where this run or an interrupted one has made it."""
    there = (work.scratch_folder / f"{name}.npy").is_file()
    return np.asarray(work.array(name), np.float64) if there else None


def _draw(work: Workspace, chosen: list[ChosenFrame]) -> list[ShownFrame]:
    """Draw frames as the preview does."""
    painter = Painter(work)
    shown = [ShownFrame(to_jpeg(painter.draw(index)), caption) for index, caption in chosen]
    work.release()
    return shown


def _report(
    work: Workspace, evidence: Evidence, *, samples: list[ShownFrame], doubtful: list[ShownFrame]
) -> Report:
    remarks = evidence.remarks
    rows = [(_short(remark.sentence), remark.stretches) for remark in remarks if remark.stretches]
    lines = [
        StageLine(name, line, _ADVICE.get(name, ""), is_serious=name != "tracking")
        for name, record in work.records.items()
        if name != "landmarks"
        for line in record.warnings
    ]
    return Report(
        name=work.video.name,
        facts=facts(evidence),
        remarks=remarks,
        stage_lines=lines,
        timeline=timeline(rows, evidence.axis) if rows else "",
        samples=samples,
        doubtful=doubtful,
        sections=[*sections(evidence), _made(work)],
        made=_settings(work),
    )


def _short(sentence: str) -> str:
    """Cut a sentence before its figures and times, for the side of a plot."""
    for stop in (" by up to", " from ", " at ", " all the time", ":", ","):
        sentence = sentence.split(stop)[0]
    return sentence


def _made(work: Workspace) -> Section:
    done = list(work.records.items())
    seconds = [record.seconds for _, record in done]
    take = work.found(Take)
    length = take.frames / take.frame_rate_hz
    plot = bar_plot([name for name, _ in done], seconds, unit="s", title="Time of each stage")
    return Section(
        "made", "How it was made",
        f"Followed was {take.speaker}; {take.faces} face{'s' * (take.faces != 1)} seen. Stages "
        f"took {sum(seconds):.0f} s for {length:.0f} s of video, without this page and the "
        "preview.",
        (plot,),
    )  # fmt: skip


def _settings(work: Workspace) -> list[tuple[str, str]]:
    settings = work.settings
    made = [(field.name, _said(getattr(settings, field.name))) for field in fields(settings)]
    made.append(("crop of the video, px", _said(work.found(Take).crop)))
    made.append(("clip schema", str(CLIP_SCHEMA_VERSION)))
    made += [(name, version(name)) for name in ("sspnerf", "mediapipe", "numpy")]
    made.append(("python", platform.python_version()))
    return made


def _said(value: object) -> str:
    if value is None:
        return "not given"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _found(evidence: Evidence) -> Checked:
    """Keep the figures that others may ask for."""
    measured = evidence.measured
    steadier: dict[str, float] = {}
    if evidence.steadiness is not None:
        before, after, late = evidence.steadiness
        for kind in ("rotation", "sideways", "depth"):
            ratio = getattr(before, kind) / max(getattr(after, kind), 1e-9)
            steadier[f"steadier_{kind}"] = round(ratio, 2)
        steadier["lag_frames"] = round(late, 3)
    return Checked(
        face_height_px=round(measured.face_height, 1),
        farthest_turn_deg=round(float(measured.turned_deg.max()), 1),
        flicker=None if measured.flicker is None else round(measured.flicker, 5),
        camera_shift=_largest(measured.camera_shift),
        light_change=_largest(measured.light),
        remarks=tuple(remark.sentence for remark in evidence.remarks if not remark.is_serious),
        **steadier,
    )


def _largest(values: NDArray[np.float64]) -> float | None:
    known = np.abs(values[np.isfinite(values)])
    return round(float(known.max()), 5) if len(known) else None


STAGE = Stage(
    run=run,
    found=Checked,
    needs=(
        "decode", "landmarks", "tracking", "speech", "features", "background", "parsing", "torso",
    ),
    leaves=(REPORT_NAME,),
)  # fmt: skip
