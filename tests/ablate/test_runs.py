"""What is done, kept, gone on with and refused; trained by a stand-in, so that it takes no time."""

import json
import shutil
import signal

import pytest
import torch

from sspnerf.ablate.children import available_cores
from sspnerf.errors import UsageError
from sspnerf.train.checkpoints import Checkpoint, save_checkpoint


def stop_early(run):
    """Make a finished run one that was stopped at step 10."""
    save_checkpoint(run, Checkpoint(10, 1.0, {"weights": torch.zeros(1)}, {}))
    shutil.rmtree(run / "evaluation")


def test_every_variant_is_trained_and_measured_with_every_seed(stage):
    rows = stage.ablate("full", "no-parsing", seeds=(0, 1))
    assert stage.calls() == [
        f"{verb} {run}{flags}"
        for run in ("full-0", "no-parsing-0", "full-1", "no-parsing-1")
        for verb, flags in (("train", " --config"), ("evaluate", " --clip --json"))
    ]
    assert [row.measures["psnr"] for row in rows] == [30.0, 28.0, 32.0, 28.0]
    assert [row.measures["steps"] for row in rows] == [30] * 4
    assert "parsing = false" in (stage.out / "no-parsing-1" / "config.toml").read_text()
    assert "seed = 1" in (stage.out / "no-parsing-1" / "config.toml").read_text()


def test_what_is_finished_is_kept(stage):
    first = stage.ablate("full", "no-parsing")
    stage.calls()
    told = []
    assert stage.ablate("full", "no-parsing", report=told.append) == first
    assert stage.calls() == []
    assert told == ["kept, as they are finished: full-0, no-parsing-0"]


def test_a_new_variant_joins_the_old_ones(stage):
    stage.ablate("full")
    stage.calls()
    assert len(stage.ablate("full", "no-rough-mesh")) == 2
    assert stage.calls() == [
        "train no-rough-mesh-0 --config",
        "evaluate no-rough-mesh-0 --clip --json",
    ]


def test_what_was_stopped_goes_on(stage):
    stage.ablate("full", "no-parsing")
    stage.calls()
    stop_early(stage.out / "full-0")
    stage.ablate("full", "no-parsing")
    assert stage.calls() == ["train full-0 --resume", "evaluate full-0 --clip --json"]


def test_what_was_killed_before_its_first_checkpoint_starts_again(stage):
    stage.ablate("full")
    stage.calls()
    shutil.rmtree(stage.out / "full-0" / "checkpoints")
    stage.ablate("full")
    assert stage.calls()[0] == "train full-0 --config --overwrite"


@pytest.mark.parametrize(
    "change",
    [{"frames": 1}, {"psnr": None, "landmarks_missing": "not asked for"}],
    ids=["some frames", "no landmarks"],
)
def test_what_was_measured_in_part_is_measured_again(stage, change):
    stage.ablate("full", landmarks=True)
    stage.calls()
    scores = stage.out / "full-0" / "evaluation" / "metrics.json"
    scores.write_text(json.dumps(json.loads(scores.read_text()) | change))
    stage.ablate("full", landmarks=True)
    assert stage.calls() == ["evaluate full-0 --clip --json --landmarks"]


def test_every_nth_frame_is_asked_for_and_all_of_them_later(stage):
    stage.ablate("full", every=5)
    assert stage.calls()[-1] == "evaluate full-0 --clip --json --every"
    # The tiny clip's two held-out frames are measured by the stand-in: one is every fifth.
    stage.ablate("full")
    assert stage.calls() == []
    stage.ablate("full", every=5)
    assert stage.calls() == ["evaluate full-0 --clip --json --every"]


def test_measures_of_an_older_portrait_are_taken_again(stage):
    stage.ablate("full")
    stage.calls()
    (stage.out / "full-0" / "portrait.json").touch()
    stage.ablate("full")
    assert stage.calls() == ["evaluate full-0 --clip --json"]


@pytest.mark.refuses
def test_a_run_with_other_settings_is_refused_before_anything_starts(stage):
    stage.ablate("no-parsing")
    stage.calls()
    with pytest.raises(UsageError, match="no-parsing-0 was trained otherwise: steps was 30, and 9"):
        stage.ablate("full", "no-parsing", steps=9)
    assert stage.calls() == []
    assert not (stage.out / "full-0").exists()


def test_overwrite_trains_anew_only_what_differs(stage):
    stage.ablate("full", "no-parsing")
    stage.calls()
    config = stage.out / "full-0" / "config.toml"
    config.write_text(config.read_text().replace("uniform_share = 0.5", "uniform_share = 0.25"))
    stage.ablate("full", "no-parsing", overwrite=True)
    assert stage.calls() == [
        "train full-0 --config --overwrite",
        "evaluate full-0 --clip --json",
    ]


@pytest.mark.refuses
def test_a_run_of_another_clip_is_refused(stage):
    stage.ablate("full")
    source = stage.out / "full-0" / "source.json"
    source.write_text(json.dumps(json.loads(source.read_text()) | {"video": "someone else"}))
    with pytest.raises(UsageError, match="is not the clip of this run: video is tiny"):
        stage.ablate("full")


@pytest.mark.refuses
def test_a_folder_that_is_no_run_is_kept(stage):
    (stage.out / "full-0").mkdir(parents=True)
    (stage.out / "full-0" / "mine.txt").write_text("dear to me")
    with pytest.raises(UsageError, match="full-0 is no run"):
        stage.ablate("full", overwrite=True)
    assert (stage.out / "full-0" / "mine.txt").read_text() == "dear to me"


def test_a_run_that_fails_says_why_and_the_others_go_on(stage):
    stage.let(full_0="fail")
    told = []
    rows = stage.ablate("full", "no-parsing", report=told.append)
    assert rows[0].error == "error: no memory left | hint: smaller pictures"
    assert rows[1].error is None
    assert rows[1].measures["psnr"] == 28.0
    assert told[:3] == ["full-0: started", "full-0: step 1", f"full-0: failed: {rows[0].error}"]
    assert stage.calls()[0] == "train full-0 --config"
    assert "evaluate full-0" not in " ".join(stage.calls())


def test_a_run_that_is_killed_says_its_last_words(stage):
    stage.let(full_0="die")
    assert stage.ablate("full")[0].error == "killed by signal 9 | some words"


def test_what_failed_is_tried_again(stage):
    stage.let(full_0="fail")
    stage.ablate("full")
    stage.let()
    assert stage.ablate("full")[0].error is None


def test_jobs_share_the_cores(stage):
    stage.ablate("full")
    assert stage.threads() == {str(available_cores())}
    stage.calls()
    stage.ablate("no-parsing", "no-rough-mesh", jobs=2)
    assert stage.threads() == {str(max(1, available_cores() // 2))}


def test_jobs_run_at_once(stage):
    """Both must be ready before either may end: one after the other they would wait for ever."""
    stage.let(full_0="wait", no_parsing_0="wait")
    ready = []

    def report(line):
        ready.extend([line] if line.endswith("ready") else [])
        if len(ready) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.ablate("full", "no-parsing", jobs=2, report=report)
    assert sorted(ready) == ["full-0: ready", "no-parsing-0: ready"]


@pytest.mark.parametrize("how", ["ctrl-c", "terminated"])
def test_stopping_lets_every_run_save(stage, how):
    stage.let(full_0="wait")

    def report(line):
        if line == "full-0: ready":
            if how == "ctrl-c":
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        stage.ablate("full", report=report)
    assert (stage.folder / "full-0.saved").read_text() == "saved"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.refuses
def test_nothing_may_be_named_twice_or_not_at_all(stage):
    with pytest.raises(UsageError, match="variant full is named twice"):
        stage.plan("full", "no-parsing", "full")
    with pytest.raises(UsageError, match="seed 3 is named twice"):
        stage.plan("full", seeds=(3, 3))
    with pytest.raises(UsageError, match="no seed is named"):
        stage.plan("full", seeds=())
