"""The verb, with a real training of five steps; and its pictures."""

import json

import numpy as np
import pytest
from PIL import Image

from sspnerf.ablate.picture import _chosen_frame
from sspnerf.cli import main


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


@pytest.mark.slow
def test_two_variants_from_the_command_line(tiny_clip, tmp_path, capsys):
    settings = tmp_path / "small.toml"
    settings.write_text("rays_per_step = 256\n[field]\nresolutions = [8, 16]\nhidden = 16\n")
    out = tmp_path / "out"
    told = ("--steps", 5, "--seeds", 3, "--config", settings, "--no-landmarks", "--json")
    wanted = ("ablate", tiny_clip.path, out, "--variants", "full", "no-parsing", *told)
    assert run(*wanted) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "ablation.json").read_text())
    full, other = printed["runs"]
    assert (full["run"], other["run"]) == ("full-3", "no-parsing-3")
    assert full["steps"] == other["steps"] == 5
    assert full["psnr"] != other["psnr"]
    assert full["mean_iou"] is not None
    assert other["mean_iou"] is None
    assert printed["variants"]["full"]["psnr"] == {"mean": full["psnr"], "spread": None}
    for name in ("ablation.png", "convergence.png"):
        assert np.asarray(Image.open(out / name).convert("L")).std() > 10
    # The same command once more has nothing to do.
    assert run(*wanted) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == printed
    assert shown.err == "kept, as they are finished: full-3, no-parsing-3\n"


def test_the_pictures_show_the_renderings_of_the_runs(stage):
    stage.ablate("full", "no-parsing")
    before = np.asarray(Image.open(stage.out / "ablation.png"))
    sheet = stage.out / "no-parsing-0" / "evaluation" / "sheet.png"
    pixels = np.asarray(Image.open(sheet)).copy()
    pixels[48:, 48:96] = (255, 0, 255)
    Image.fromarray(pixels).save(sheet)
    stage.ablate("full", "no-parsing")
    after = np.asarray(Image.open(stage.out / "ablation.png"))
    changed = np.argwhere((before != after).any(axis=-1))
    middle = before.shape[1] / 2
    # Truth, full, no-parsing: only the last column differs.
    assert changed[:, 1].min() > middle
    assert (after[tuple(changed.T)][:, :3] == (255, 0, 255)).all(axis=-1).mean() > 0.9


def test_one_variant_alone_is_drawn_without_differences(stage):
    stage.ablate("no-parsing")
    alone = len(np.asarray(Image.open(stage.out / "ablation.png")))
    stage.ablate("full", "no-parsing")
    assert len(np.asarray(Image.open(stage.out / "ablation.png"))) > alone


@pytest.mark.refuses
def test_a_budget_is_steps_or_minutes(tiny_clip, tmp_path, capsys):
    both = ("--minutes", 1, "--steps", 5)
    assert run("ablate", tiny_clip.path, tmp_path / "out", *both) == 2
    assert "--minutes and --steps are both given" in capsys.readouterr().err
    assert run("ablate", tiny_clip.path, tmp_path / "out", "--steps", 0) == 2
    assert "steps is 0; expected 1 to" in capsys.readouterr().err


@pytest.mark.refuses
def test_what_is_unknown_is_named(tiny_clip, tmp_path, capsys):
    assert run("ablate", tiny_clip.path, tmp_path / "out", "--variants", "no-mesh") == 2
    assert "did you mean no-rough-mesh?" in capsys.readouterr().err
    assert run("ablate", tiny_clip.path, tmp_path / "out", "--preset", "fastest") == 2
    assert "unknown preset fastest" in capsys.readouterr().err
    assert run("ablate", tiny_clip.path, tmp_path / "out", "--jobs", 0) == 2
    assert "--jobs is 0" in capsys.readouterr().err
    assert run("ablate", tmp_path / "no", tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()


def test_failed_runs_end_with_an_error_after_the_table(stage, monkeypatch, capsys):
    stage.let(full_0="fail")
    monkeypatch.setattr("sspnerf.ablate.runs.python_command", lambda: stage.command)
    settings = stage.folder / "base.toml"
    settings.write_text("steps = 30\n")
    told = ("--variants", "full", "--seeds", 0, "--config", settings, "--no-landmarks")
    assert run("ablate", stage.clip.path, stage.out, *told) == 1
    shown = capsys.readouterr()
    assert "1 of 1 runs failed: full-0" in shown.err
    assert "full-0 failed: error: no memory left" in (stage.out / "ablation.md").read_text()


def test_ctrl_c_says_that_the_same_command_goes_on(stage, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("sspnerf.ablate.ablation.carry_out", interrupted)
    assert run("ablate", stage.clip.path, stage.out, "--no-landmarks") == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_the_picture_shows_a_frame_that_was_measured(stage):
    # The tiny clip holds out frames 10 and 11; of every second one the first is left.
    assert _chosen_frame(stage.plan("full")) == (11, 1)
    assert _chosen_frame(stage.plan("full", every=2)) == (10, 0)
