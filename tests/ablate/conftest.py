"""A stand-in for `sspnerf` that trains nothing: it copies a run, and remembers what it was told."""

import json
import shutil
import sys
from dataclasses import replace
from typing import NamedTuple

import pytest

from sspnerf.ablate.ablation import ablate
from sspnerf.ablate.runs import plan_ablation
from sspnerf.config import PRESETS, read_settings
from sspnerf.evaluate.held_out import evaluate

PROGRAM = """
import json, os, pathlib, shutil, signal, sys, time

template, folder, *arguments = sys.argv[1:]
folder = pathlib.Path(folder)
with (folder / "calls").open("a") as file:
    threads = os.environ["OMP_NUM_THREADS"]
    file.write(json.dumps({"arguments": arguments, "threads": threads}) + "\\n")
run = pathlib.Path(arguments[2] if arguments[0] == "train" else arguments[1])
plan = json.loads((folder / "plan.json").read_text()).get(run.name, "")
if plan == "fail":
    print("train: step 1")
    sys.exit("something before\\nerror: no memory left\\nhint: smaller pictures")
if plan == "die":
    print("some words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
if plan == "wait":
    def save(*_):
        (folder / f"{run.name}.saved").write_text("saved")
        sys.exit(130)
    signal.signal(signal.SIGINT, save)
    print("train: ready", flush=True)
    time.sleep(60)
if arguments[0] == "train":
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(template, run, ignore=shutil.ignore_patterns("evaluation"))
    if "--config" in arguments:
        settings = arguments[arguments.index("--config") + 1]
        shutil.copyfile(settings, run / "config.toml")
else:
    shutil.copytree(pathlib.Path(template) / "evaluation", run / "evaluation", dirs_exist_ok=True)
    scores = run / "evaluation" / "metrics.json"
    found = json.loads(scores.read_text())
    found["psnr"] = {"full-0": 30.0, "full-1": 32.0}.get(run.name, 28.0)
    if "--landmarks" in arguments:
        found["landmarks_missing"] = "no face"
    scores.write_text(json.dumps(found))
"""


class Stage(NamedTuple):
    """A folder, settings, and a stand-in that plays them."""

    clip: object
    folder: object
    base: object
    command: tuple

    @property
    def out(self):
        """The ablation's folder."""
        return self.folder / "out"

    def let(self, **plan):
        """Say how runs behave: `fail`, `die` or `wait`."""
        names = {name.replace("_", "-"): how for name, how in plan.items()}
        (self.folder / "plan.json").write_text(json.dumps(names))

    def plan(self, *variants, seeds=(0,), landmarks=False, every=1, **changes):
        """Name the runs; changes are of the base settings."""
        return plan_ablation(
            self.clip.path,
            self.out,
            replace(self.base, **changes),
            variants=variants,
            seeds=seeds,
            landmarks=landmarks,
            every=every,
        )

    def ablate(self, *variants, jobs=1, overwrite=False, report=lambda line: None, **plan):
        """Carry out what is named as by `plan`."""
        return ablate(
            self.plan(*variants, **plan),
            jobs=jobs,
            overwrite=overwrite,
            report=report,
            sspnerf=self.command,
        )

    def calls(self):
        """What was asked for since the last look: verb, run, and flags without paths."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        told = [json.loads(line)["arguments"] for line in lines]
        return [" ".join(short(words)) for words in told]

    def threads(self):
        """Return how many threads children were given."""
        lines = (self.folder / "calls").read_text().splitlines()
        return {json.loads(line)["threads"] for line in lines}


def short(words):
    names = [word.rsplit("/", 1)[-1] for word in words]
    run = names[2] if names[0] == "train" else names[1]
    return [names[0], run, *(word for word in names if word.startswith("--"))]


@pytest.fixture(scope="session")
def template(trained_run, tmp_path_factory):
    """A trained and measured run."""
    copy = tmp_path_factory.mktemp("template") / "run"
    shutil.copytree(trained_run, copy)
    evaluate(copy)
    return copy


@pytest.fixture
def stage(template, tiny_clip, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    base = read_settings(template / "config.toml", PRESETS["fast"])
    command = (sys.executable, str(program), str(template), str(tmp_path))
    made = Stage(tiny_clip, tmp_path, base, command)
    made.let()
    return made
