"""Each benchmark on the tiny clip: what it prints is whole, finite and positive."""

import json
import math
import sys

import numpy as np
import pytest

from bench import clips, kernels, latency, machine, memory, portraits, render, train, watching
from small_learners import ADNERF, FAST, PAPER
from sspnerf.errors import ClipError, SspnerfError, UsageError

CONFIGS = {"fast": FAST, "paper": PAPER, "adnerf": ADNERF}
MACHINE = {"processor", "cores", "gpu", "torch", "numba", "torch_threads", "numba_threads"}


def checked(report):
    """Read the report back as JSON; every number in its tables is finite and positive."""
    told = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert set(told["machine"]) >= MACHINE
    assert told["commit"]
    for name in report.tables:
        assert told[name], name
        for row in told[name]:
            for column, value in row.items():
                if isinstance(value, float) and column not in ("exponent", "other"):
                    assert math.isfinite(value), (name, row)
                    assert value >= 0, (name, row)
    return told


@pytest.fixture(scope="module")
def clip(tiny_clip):
    return str(tiny_clip.path)


def test_render_tells_how_many_times_faster_than_the_baseline_a_frame_is(clip):
    chosen = render.arguments(
        ["--clip", clip, "--size", "32", "--rounds", "1", "--frames", "3", "--strip-seconds", ".01"]
    )
    told = checked(render.measure(chosen, CONFIGS))
    rows = {row["preset"]: row for row in told["frames_per_second"]}
    assert list(rows) == ["fast", "paper", "adnerf", "adnerf float32"]
    assert rows["adnerf float32"]["times_float32_adnerf"] == 1
    for row in rows.values():
        assert row["frames_per_s"] == pytest.approx(1 / row["seconds_per_frame"])
    (film,) = told["films"]
    assert (film["frames"], film["size"]) == (3, 32)


def test_render_fits_how_cost_grows(clip):
    chosen = render.arguments(["--clip", clip, "--size", "32", "--rounds", "1", "--scaling"])
    told = checked(render.measure(chosen, CONFIGS))
    against = [row["cost_against"] for row in told["exponents"]]
    assert against == ["pixels", "samples_per_ray", "frames"]
    assert [row["pixels"] for row in told["cost_against_pixels"]] == [16**2, 32**2]


def test_train_tells_the_parts_of_a_step(clip):
    told = checked(train.measure(train.arguments(["--clip", clip, "--steps", "2"]), FAST))
    parts = {row["part"]: row for row in told["step"]}
    inside = ("draw", "hear", "render", "backward", "optimiser")
    assert sum(parts[name]["ms"] for name in inside) < 1.5 * parts["whole"]["ms"]
    assert min(parts[name]["ms"] for name in inside) > 0
    rays, samples = parts["whole"]["rays_per_s"], parts["whole"]["samples_per_s"]
    assert samples / rays == pytest.approx(FAST.band.samples)


def test_train_tells_when_marks_are_passed(clip):
    chosen = train.arguments(
        ["--clip", clip, "--minutes", ".005", "--to", "1,90", "--check-seconds", ".1"]
    )
    told = checked(train.measure(chosen, FAST))
    first, last = told["marks"]
    assert first["seconds"] == told["curve"][0]["seconds"]
    assert last == {"psnr": 90.0, "seconds": None}
    assert told["end"][0]["steps"] == told["curve"][-1]["steps"] > 0


def test_train_fits_how_a_step_grows(clip):
    given = ["--clip", clip, "--scaling", "--steps", "1", "--size", "32", "--seconds", ".2,.4"]
    told = checked(train.measure(train.arguments(given), FAST))
    against = [row["step_against"] for row in told["exponents"]]
    assert against == ["pixels", "samples_per_ray", "clip_seconds"]


def test_memory_tells_the_peaks_of_programs_of_their_own(clip, monkeypatch):
    started = []

    def watched(command, *, at_most_s=None):
        started.append(command)
        return watching.Watched(1.0, 2.0, 30.0 * len(started), 20.0 * len(started))

    monkeypatch.setattr(memory, "run_and_watch", watched)
    monkeypatch.setattr(
        memory, "portrait_of", lambda clip, run: portraits.untrained(clip, "fast", FAST)
    )
    given = ["--clip", clip, "--size", "32", "--seconds", ".2,.4", "--steps", "3"]
    told = checked(memory.measure(memory.arguments(given)))
    assert [row["length_s"] for row in told["training"]] == [0.2, 0.4]
    assert [row["peak_own_mb"] for row in told["training"]] == [20, 40]
    assert told["exponents"][0] == {"memory_of": "training", "exponent": pytest.approx(1)}
    assert [command[3] for command in started] == ["train", "train", "render", "render"]


def test_the_memory_of_a_program_is_seen_with_that_of_its_own_programs():
    hold = "import sys, time; held = bytearray(100 << 20); time.sleep(1)"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{hold}'], check=True)"
    alone, both = (
        watching.run_and_watch([sys.executable, "-c", code]).peak_own_mb
        for code in ("import time; time.sleep(0.3)", nested)
    )
    assert both > alone + 100


def test_a_program_that_takes_too_long_is_interrupted():
    seen = watching.run_and_watch(
        [sys.executable, "-c", "import time; time.sleep(60)"], at_most_s=0.3
    )
    assert seen.seconds < 10


@pytest.mark.refuses
def test_a_program_that_fails_is_one_error():
    with pytest.raises(SspnerfError, match="failed with 3"):
        watching.run_and_watch([sys.executable, "-c", "raise SystemExit(3)"])


def test_kernels_tell_ratio_and_bound(clip, monkeypatch):
    monkeypatch.setattr(kernels, "MEMORY_BYTES", 1e6)
    monkeypatch.setattr(kernels, "GATHERS", 1000)
    chosen = kernels.arguments(["--clip", clip, "--rays", "64", "--rounds", "1"])
    told = checked(kernels.measure(chosen))
    names = [row["kernel"] for row in told["kernels"]]
    assert len(set(names)) == len(names) >= 14
    for row in told["kernels"]:
        assert row["times_reference"] > 0
        assert row["of_bound"] > 0
    assert {row["unit"] for row in told["bounds"]} == {"GB/s", "million/s", "GFLOP/s"}


def test_latency_tells_the_parts_of_the_first_picture(clip, monkeypatch):
    def portrait_of(clip, run):
        return portraits.untrained(clip, "fast", FAST)

    monkeypatch.setattr(latency, "portrait_of", portrait_of)
    monkeypatch.setattr(
        latency,
        "_cold",
        lambda run, *_: {"first_picture_ms": 1.0 * (run / "portrait.json").is_file()},
    )
    given = ["--clip", clip, "--size", "32", "--seconds", ".3", "--rounds", "1"]
    told = checked(latency.measure(latency.arguments(given)))
    cold, warm = told["first_picture"]
    assert cold["first_picture_ms"] == 1
    assert warm["first_picture_ms"] == pytest.approx(warm["speak_ms"] + warm["render_ms"])


def test_a_loaded_portrait_tells_the_parts_of_its_first_call(trained_run, tiny_clip, tmp_path):
    np.save(tmp_path / "waveform.npy", portraits.sound(tiny_clip, 0.3))
    found = latency.cold_program(trained_run, tmp_path / "waveform.npy")
    assert set(found) > {"first_picture_ms", "speak_ms", "render_ms", "load_ms"}
    assert min(found.values()) > 0


@pytest.mark.slow
def test_a_fresh_program_tells_the_same_parts(trained_run, tiny_clip, tmp_path):
    found = latency._cold(trained_run, portraits.sound(tiny_clip, 0.3), tmp_path)
    assert found["first_picture_ms"] > 0
    assert found["load_ms"] > 0


def test_a_repeated_clip_shows_the_same_frames_again(tiny_clip, tmp_path):
    made = clips.write_repeated(tiny_clip, tmp_path / "clip", seconds=1.0, size=24)
    first = tiny_clip.manifest.reference_frame
    assert made.frames.shape == (25, 24, 24, 3)
    again = made.frames[tiny_clip.manifest.frames]
    assert (again == made.frames[0]).all()
    assert (made.frames[0] == tiny_clip.frames[first][1::2, 1::2]).all()
    assert (made.poses[3] == tiny_clip.poses[first + 3]).all()
    assert made.manifest.intrinsics == tiny_clip.manifest.intrinsics.scaled(24, 24)


@pytest.mark.refuses
def test_a_clip_that_does_not_fit_on_the_disk_is_refused(tiny_clip, tmp_path):
    with pytest.raises(UsageError, match="GB is needed"):
        clips.write_repeated(tiny_clip, tmp_path / "clip", seconds=1e9, size=512)


def test_a_strip_is_the_middle_of_the_whole_picture(tiny_clip):
    portrait = portraits.untrained(tiny_clip, "fast", FAST)
    waveform = portraits.sound(tiny_clip, 0.1)
    whole = next(portraits.pictures(portraits.resized(portrait, 32), waveform))
    strip = portraits.strip(portraits.resized(portrait, 32), 4)
    assert (next(portraits.pictures(strip, waveform)) == whole[14:18]).all()


def test_float32_fields_are_float32_only_inside():
    device = machine.device()
    before = portraits.field_dtype(device)
    with portraits.float32_fields():
        assert str(portraits.field_dtype(device)) == "torch.float32"
    assert portraits.field_dtype(device) == before


def test_a_ratio_is_of_the_same_round_each_time():
    assert machine.ratio([2.0, 9.0, 60.0], [1.0, 3.0, 6.0]) == 3


def test_cases_are_measured_in_turn():
    called = []
    cases = {name: lambda name=name: called.append(name) for name in "ab"}
    times = machine.alternate(cases, rounds=2)
    assert called == ["a", "b"] * 3
    assert [len(measured) for measured in times.values()] == [2, 2]


def test_the_exponent_of_a_square_law_is_two():
    assert machine.exponent([1, 2, 5], [3, 12, 75]) == pytest.approx(2)


@pytest.mark.refuses
@pytest.mark.parametrize("module", [render, train, memory, kernels, latency])
def test_a_clip_that_is_not_there_is_one_line(module, tmp_path, capsys):
    chosen = module.arguments(["--clip", str(tmp_path / "none")])
    with pytest.raises(ClipError, match="does not exist"):
        module.measure(chosen)
    with pytest.raises(SystemExit) as ended:
        machine.run_command(module.measure, chosen)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.refuses
def test_a_size_that_the_clip_does_not_have_is_refused(clip):
    with pytest.raises(UsageError, match="--size is 40 and the clip is of 48 px"):
        train.measure(train.arguments(["--clip", clip, "--size", "40"]))


@pytest.mark.refuses
@pytest.mark.parametrize("given", ["0", "-3", "two", "1.5"])
def test_sizes_are_whole_numbers(clip, given, capsys):
    with pytest.raises(SystemExit):
        render.arguments(["--clip", clip, "--size", given])
    assert "whole number" in capsys.readouterr().err
