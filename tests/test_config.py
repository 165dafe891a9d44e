"""Settings: TOML there and back, ranges, messages that name the nearest, and no heavy import."""

import dataclasses
import subprocess
import sys
import tomllib
import typing

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from sspnerf.config import (
    PRESETS,
    BandConfig,
    FieldConfig,
    LossConfig,
    OptimiserConfig,
    PrepareConfig,
    SynthConfig,
    TrainConfig,
    VolumeConfig,
    from_toml,
    read_settings,
    to_toml,
)
from sspnerf.errors import UsageError

# Plain values: the settings are built in the test, as the shape hook draws random numbers there.
settings_values = st.fixed_dictionaries(
    {
        "steps": st.integers(1, 10_000_000),
        "minutes": st.none() | st.floats(0.001, 100_000),
        "rays_per_step": st.integers(1024, 1_000_000),
        "frames_per_step": st.integers(1, 1024),
        "speech_feature": st.text(),
        "sampling": st.sampled_from(["dynamic", "uniform", "face-rectangle"]),
        "parsing": st.booleans(),
        "uniform_share": st.floats(0, 1),
        "field": st.fixed_dictionaries(
            {
                "resolutions": st.lists(st.integers(2, 4096), min_size=1, max_size=5).map(tuple),
                "features": st.integers(1, 32),
                "extent": st.none() | st.floats(1, 1000),
            }
        ),
        "band": st.fixed_dictionaries(
            {"samples": st.integers(1, 256), "front": st.floats(0.01, 100)}
        ),
        "optimiser": st.fixed_dictionaries({"grid_rate": st.floats(0, 1)}),
        "loss": st.fixed_dictionaries({"mask_weight": st.floats(0, 1000)}),
    }
)
PARTS = {"field": FieldConfig, "band": BandConfig, "optimiser": OptimiserConfig, "loss": LossConfig}


@given(settings_values)
def test_settings_come_back_from_toml_as_they_were(values):
    parts = {name: part(**values[name]) for name, part in PARTS.items()}
    written = TrainConfig(**(values | parts))
    table = tomllib.loads(tomli_w.dumps(to_toml(written)))
    assert from_toml(TrainConfig(), table) == written


@pytest.mark.parametrize("written", [PrepareConfig(size=64), SynthConfig(text="ä", seconds=1.5)])
def test_settings_of_other_verbs_come_back_too(written, tmp_path):
    file = tmp_path / "settings.toml"
    file.write_bytes(tomli_w.dumps(to_toml(written)).encode())
    assert read_settings(file, type(written)()) == written


def test_a_file_changes_only_what_it_names(tmp_path):
    file = tmp_path / "some.toml"
    file.write_text("steps = 7\n[field]\nresolutions = [4, 8]\n")
    base = dataclasses.replace(TrainConfig(), seed=3)
    changed = read_settings(file, base)
    field = dataclasses.replace(base.field, resolutions=(4, 8))
    assert changed == dataclasses.replace(base, steps=7, field=field)


def test_an_integer_is_taken_for_a_fraction():
    changed = from_toml(TrainConfig(), {"minutes": 3, "band": {"front": 2}})
    assert isinstance(changed.minutes, float)
    assert changed.band.front == 2.0


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        ({"stepps": 1}, "unknown setting stepps", "did you mean steps?"),
        ({"field": {"hiden": 1}}, "unknown setting field.hiden", "did you mean field.hidden?"),
        ({"los": {}}, "unknown setting los", "did you mean loss?"),
    ],
)
def test_an_unknown_key_names_the_nearest(table, message, hint):
    with pytest.raises(UsageError, match=f"^{message}$") as caught:
        from_toml(TrainConfig(), table)
    assert caught.value.hint == hint


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"steps": True}, "setting steps is True; expected int"),
        ({"steps": 1.0}, "setting steps is 1.0; expected int"),
        ({"steps": "many"}, "setting steps is 'many'; expected int"),
        ({"minutes": False}, "setting minutes is False; expected float"),
        ({"parsing": 1}, "setting parsing is 1; expected bool"),
        ({"speech_feature": 3}, "setting speech_feature is 3; expected str"),
        (
            {"sampling": "even"},
            "setting sampling is 'even'; expected 'dynamic' or 'uniform' or 'face-rectangle'",
        ),
        ({"field": 3}, r"setting field is 3; expected a table \[field\]"),
        ({"field": {"resolutions": 8}}, "setting field.resolutions is 8; expected a list of int"),
        ({"field": {"resolutions": [8.5]}}, "setting field.resolutions is 8.5; expected int"),
        ({"field": {"resolutions": []}}, "field.resolutions is .* one or more of 2 to 4096"),
        ({"field": {"resolutions": [1]}}, "field.resolutions is .* one or more of 2 to 4096"),
        ({"field": {"hidden": 1}}, "field.hidden is 1; expected 8 to 1024"),
        ({"minutes": float("nan")}, "minutes is nan; expected 0.001 to 100000"),
        ({"rays_per_step": 16, "frames_per_step": 17}, "rays_per_step is 16; .* one per frame"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(table, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        from_toml(TrainConfig(), table)


@pytest.mark.refuses
def test_a_text_is_no_list_of_texts():
    with pytest.raises(UsageError, match="features is 'logmel'; expected a list of str"):
        from_toml(PrepareConfig(), {"features": "logmel"})
    with pytest.raises(UsageError, match="features has deepspeech; expected any of: logmel, wav2"):
        from_toml(PrepareConfig(), {"features": ["deepspeech"]})


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"speech_model": "m"}, "speech_model is given and features are logmel; expected one of"),
        (
            {"features": ["hubert", "whisper"], "speech_layer": 3},
            "speech_layer is given and .* hub",
        ),
        ({"features": ["npy"]}, "feature_file is not given and features are npy"),
        ({"feature_file": "aud.npy"}, r"feature_file is aud\.npy and features are logmel"),
        ({"feature_rate_hz": 50.0}, "feature_rate_hz is 50; expected a feature_file too"),
    ],
)
def test_settings_that_no_kind_of_features_reads_are_refused(table, message):
    with pytest.raises(UsageError, match=f"^prepare.{message}"):
        from_toml(PrepareConfig(), table)


def numbers_with_ranges():
    """Each number of each settings class, with its class: all are checked on construction."""
    parts = {type(part) for part in vars(TrainConfig()).values() if dataclasses.is_dataclass(part)}
    classes = (*sorted(parts, key=str), TrainConfig, PrepareConfig, SynthConfig)
    for owner in classes:
        kinds = typing.get_type_hints(owner)
        for item in dataclasses.fields(owner):
            kind = kinds[item.name]
            if {int, float} & {kind, *typing.get_args(kind)} and item.name != "seed":
                yield owner, item.name


@pytest.mark.refuses
@pytest.mark.parametrize(("owner", "name"), list(numbers_with_ranges()))
def test_every_number_has_a_range(owner, name):
    value = (-1,) if name in ("resolutions", "channels") else -1.0
    with pytest.raises(ValueError, match=rf"{name} is .*-1.*; expected"):
        owner(**{name: value})


@pytest.mark.refuses
@pytest.mark.parametrize("content", [b"steps = ", b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    file = tmp_path / "broken.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot read settings from .*broken\.toml"):
        read_settings(file, TrainConfig())


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_come_back_from_a_runs_settings(name):
    assert PRESETS[name] == from_toml(PRESETS["fast"], to_toml(PRESETS[name]))


@pytest.mark.refuses
def test_perceptrons_have_no_bones():
    with pytest.raises(ValueError, match=r"deformation\.form is both; .* choose network"):
        TrainConfig(architecture="perceptron")


@pytest.mark.refuses
@pytest.mark.parametrize("switch", ["parsing", "torso_deformation", "rough_mesh"])
def test_two_fields_refuse_what_they_do_not_have(switch):
    with pytest.raises(ValueError, match=f"{switch} is on; architecture head-and-torso has no"):
        dataclasses.replace(PRESETS["adnerf"], **{switch: True})


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("preset", "part", "change"),
    [
        ("fast", "perceptron", {"hidden": 32}),
        ("fast", "volume", {"near": 3.0}),
        ("fast", "two_fields", {"torso_rays": 99}),
        ("paper", "band", {"samples": 3}),
        ("adnerf", "deformation", {"form": "network"}),
    ],
)
def test_a_part_that_an_architecture_ignores_is_refused(preset, part, change):
    changed = dataclasses.replace(getattr(PRESETS[preset], part), **change)
    with pytest.raises(ValueError, match=rf"{part}\.\* is not used by architecture"):
        dataclasses.replace(PRESETS[preset], **{part: changed})


@pytest.mark.refuses
def test_samples_start_before_they_end():
    with pytest.raises(ValueError, match=r"volume\.near is 9; expected less than volume\.far"):
        VolumeConfig(near=9.0, far=9.0)


def test_settings_load_no_heavy_library():
    program = (
        "import sys, sspnerf.config\n"
        "heavy = {'torch', 'numpy', 'av', 'numba', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_pictures_take_two_thirds_of_the_samples_unless_said_otherwise():
    assert BandConfig(samples=6).rendered == 4
    assert BandConfig(samples=1).rendered == 1
    assert BandConfig(samples=6, render_samples=9).rendered == 9
    with pytest.raises(ValueError, match="render_samples is 0; expected 1 to 256"):
        BandConfig(render_samples=0)
