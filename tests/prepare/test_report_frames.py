"""Which frames the report shows."""

from types import SimpleNamespace

import numpy as np
import pytest

from sspnerf.prepare.report_frames import APART_S, DOUBTFUL, SAMPLES, doubtful_frames, sample_frames


def measured(frames=500, **changes):
    values = {
        "frames": frames,
        "frame_rate_hz": 25.0,
        "valid": np.ones(frames, bool),
        "error_px": np.linspace(0.1, 0.2, frames),
        "turned_deg": np.linspace(5, 4, frames),
        "torso_confidence": np.ones(frames),
        "patched": np.arange(0, frames, 3),
        "strangeness": np.ones(len(range(0, frames, 3))),
    }
    return SimpleNamespace(**(values | changes))


def test_samples_are_spread_evenly():
    chosen = [sample.frame for sample in sample_frames(500, 25.0)]
    assert len(chosen) == SAMPLES
    gaps = np.diff([-chosen[0], *chosen, 1000 - chosen[-1]])
    assert np.ptp(gaps) <= 2
    assert sample_frames(500, 25.0)[0].caption == "0.8 s"


def test_the_worst_of_each_kind_is_shown_and_said():
    error, turned = np.full(500, 0.2), np.full(500, 3.0)
    torso, valid, strange = np.ones(500), np.ones(500, bool), np.ones(167)
    error[100], turned[200], torso[300], valid[400], strange[150] = 7.25, 48.6, 0.25, False, 5.0
    captions = {
        chosen.frame: chosen.caption
        for chosen in doubtful_frames(
            measured(error_px=error, turned_deg=turned, torso_confidence=torso, valid=valid,
                     strangeness=strange)
        )
    }  # fmt: skip
    assert captions[100] == "4.0 s: landmarks off by 7.2 px"
    assert captions[200] == "8.0 s: turned away by 49 degrees"
    assert captions[300] == "12.0 s: torso unsure by 75 %"
    assert captions[400] == "16.0 s: no face was found"
    assert captions[450] == "18.0 s: looks unlike other times (5.0)"
    assert len(captions) == DOUBTFUL


def test_doubtful_frames_are_in_order_and_apart():
    found = [chosen.frame for chosen in doubtful_frames(measured())]
    assert len(found) == DOUBTFUL
    assert np.diff(found).min() > APART_S * 25


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_short_clips_show_what_there_is(frames):
    assert [sample.frame for sample in sample_frames(frames, 25.0)] == list(range(frames))
    assert len(doubtful_frames(measured(frames))) == 1


def test_a_frame_without_a_face_has_no_other_doubts():
    nobody = measured(valid=np.zeros(500, bool), torso_confidence=None, strangeness=np.zeros(0),
                      patched=np.zeros(0, int))  # fmt: skip
    assert {found.caption.split(": ")[1] for found in doubtful_frames(nobody)} == {
        "no face was found"
    }
