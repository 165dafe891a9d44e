"""The verbs `import` and `export` on the command line."""

import pytest

from sspnerf.cli import main


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def test_a_clip_goes_out_and_comes_back(tiny_clip, tmp_path, capsys):
    layout, clip = tmp_path / "layout", tmp_path / "clip"
    assert run("export", tiny_clip.path, layout, "--layout", "radnerf") == 0
    assert capsys.readouterr().out == f"layout: {layout}\n"
    assert run("import", layout, clip, "--size", "24") == 0
    shown = capsys.readouterr()
    assert shown.out == f"clip: {clip} (12 frames, 24x24, 25 frames/s)\n"
    assert "warning" not in shown.err


def test_a_warning_is_one_line(tiny_clip, tmp_path, capsys):
    run("export", tiny_clip.path, tmp_path / "layout")
    (tmp_path / "layout" / "aud.wav").unlink()
    capsys.readouterr()
    assert run("import", tmp_path / "layout", tmp_path / "clip") == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("warning: ")] == [
        f"warning: {tmp_path / 'layout'} has no aud.wav: no sound; "
        "train the clip with --speech FILE"
    ]


@pytest.mark.refuses
def test_a_folder_without_transforms_is_one_line_and_a_hint(tmp_path, capsys):
    assert run("import", tmp_path, tmp_path / "clip") == 1
    assert capsys.readouterr().err.splitlines() == [
        f"error: {tmp_path} has no transforms_train.json",
        "hint: give a folder that AD-NeRF's, RAD-NeRF's or ER-NeRF's scripts made",
    ]


@pytest.mark.refuses
def test_an_unknown_layout_names_the_known_ones(tiny_clip, tmp_path, capsys):
    assert run("export", tiny_clip.path, tmp_path / "layout", "--layout", "nerface") == 2
    assert "ernerf" in capsys.readouterr().err
    assert not (tmp_path / "layout").exists()
