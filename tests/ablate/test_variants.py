"""Each variant takes away one thing and leaves the rest."""

import dataclasses
from dataclasses import replace

import pytest

from sspnerf.ablate import variants
from sspnerf.ablate.variants import VARIANTS, default_variants, variant_settings
from sspnerf.config import PRESETS, from_toml, to_toml
from sspnerf.errors import UsageError

BASE = replace(PRESETS["fast"], steps=70, rays_per_step=512)


def changes(name):
    found = variant_settings(name, BASE, seed=5)
    return {
        item.name: getattr(found, item.name)
        for item in dataclasses.fields(found)
        if getattr(found, item.name) != getattr(BASE, item.name)
    }


def test_each_variant_takes_away_one_part():
    assert changes("full") == {"seed": 5}
    assert changes("no-parsing") == {"seed": 5, "parsing": False}
    assert changes("uniform-sampling") == {"seed": 5, "sampling": "uniform"}
    assert changes("no-torso-deformation") == {"seed": 5, "torso_deformation": False}
    assert changes("no-rough-mesh") == {"seed": 5, "rough_mesh": False}


def test_adnerf_keeps_its_own_settings_and_takes_the_budget():
    found = variant_settings("adnerf", BASE, seed=5)
    preset = PRESETS["adnerf"]
    # Its rates fall within the budget as far as they fall in its own 400,000 steps a stage.
    rates = replace(preset.optimiser, decay_steps=None, final_share=0.0251)
    assert found == replace(preset, steps=70, minutes=None, seed=5, optimiser=rates)


def test_the_slow_baseline_is_compared_by_the_clock_only():
    assert set(VARIANTS) - set(default_variants(BASE)) == {"adnerf"}
    assert default_variants(replace(BASE, minutes=2.0)) == tuple(VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_settings_survive_the_file_that_a_run_is_started_with(name):
    settings = variant_settings(name, BASE, seed=1)
    assert from_toml(PRESETS["fast"], to_toml(settings)) == settings


@pytest.mark.refuses
def test_an_unknown_variant_names_the_nearest():
    with pytest.raises(UsageError, match="unknown variant no-parse") as refused:
        variant_settings("no-parse", BASE, seed=0)
    assert refused.value.hint.startswith("did you mean no-parsing?")


@pytest.mark.refuses
def test_a_variant_that_changes_nothing_is_refused():
    with pytest.raises(UsageError, match="no-parsing changes nothing"):
        variant_settings("no-parsing", replace(BASE, parsing=False), seed=0)


@pytest.mark.refuses
def test_a_version_without_the_preset_says_so(monkeypatch):
    monkeypatch.setattr(variants, "PRESETS", {"fast": BASE})
    with pytest.raises(UsageError, match="variant adnerf needs the preset adnerf"):
        variant_settings("adnerf", BASE, seed=0)


@pytest.mark.refuses
def test_a_seed_out_of_range_is_refused():
    with pytest.raises(UsageError, match="seed is -1; expected 0 to"):
        variant_settings("full", BASE, seed=-1)
