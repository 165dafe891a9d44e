"""Stages and schedules by hand."""

import pytest

from sspnerf.config import PRESETS, OptimiserConfig, TrainConfig
from sspnerf.train.optimiser import decay
from sspnerf.train.schedule import band_scale, moment_of


def test_the_band_narrows_during_the_first_half():
    config = TrainConfig()
    narrowed = config.band.narrow_to
    assert band_scale(config, 0.0) == 1.0
    assert band_scale(config, 0.25) == pytest.approx((1 + narrowed) / 2)
    assert band_scale(config, 0.5) == band_scale(config, 1.0) == pytest.approx(narrowed)


@pytest.mark.parametrize(
    ("progress", "stage_progress", "learns_torso"),
    [(0.0, 0.0, False), (0.25, 0.5, False), (0.5, 0.0, True), (0.75, 0.5, True), (1.0, 1.0, True)],
)
def test_head_and_torso_have_a_stage_each(progress, stage_progress, learns_torso):
    moment = moment_of(PRESETS["adnerf"], progress)
    assert moment.progress == pytest.approx(stage_progress)
    assert moment.learns_torso == learns_torso


def test_one_field_has_one_stage():
    assert moment_of(PRESETS["paper"], 0.75) == (0.75, False)


def test_the_papers_rates_fall_by_steps_and_not_by_time():
    config = PRESETS["paper"].optimiser
    assert decay(config, progress=0.99, step=0) == 1.0
    assert decay(config, progress=0.0, step=125_000) == pytest.approx(0.1**0.5)
    assert decay(OptimiserConfig(), progress=1.0, step=3) == pytest.approx(0.03)
