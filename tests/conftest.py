"""Fixtures for all tests: randomness, backends, the tiny clip, and files that may be there."""

import os
from dataclasses import replace
from pathlib import Path

# Before torch: on busy cores threads that wait busily make every step ten times as long (cli.main
# does the same).
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

import hypothesis
import pytest
import torch

from sspnerf.ops import backend as backends

# Before Triton: GPU kernels are interpreted where there is no GPU, in the tests that ask for them.
if not torch.cuda.is_available():
    os.environ.setdefault(backends.INTERPRET_VARIABLE, "1")

# Compiling a kernel on first use is no slowness of the test.
hypothesis.settings.register_profile("sspnerf", deadline=None)
hypothesis.settings.load_profile("sspnerf")

SHARED = Path(__file__).parents[2] / "shared"


def available_backends() -> list[str]:
    failure = backends._numba_failure()
    return ["reference"] if failure else ["reference", "numba"]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20220724)


@pytest.fixture(params=available_backends())
def backend(request, monkeypatch) -> str:
    """Run the test once on each implementation that works here."""
    monkeypatch.setenv(backends.BACKEND_VARIABLE, request.param)
    return request.param


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    from tiny_speaker import write_tiny_clip

    return write_tiny_clip(tmp_path_factory.mktemp("tiny") / "clip")


@pytest.fixture(scope="session")
def trained_run(tiny_clip, tmp_path_factory):
    """A run of a few seconds: it has all files, not good pictures. Tests only read it."""
    from sspnerf.config import PRESETS, FieldConfig
    from sspnerf.train.trainer import train

    small = FieldConfig(resolutions=(8, 16, 32), features=2, hidden=16)
    config = replace(PRESETS["fast"], steps=30, rays_per_step=512, frames_per_step=4, field=small)
    return train(tiny_clip.path, tmp_path_factory.mktemp("trained") / "run", config)


def folder_or_skip(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable, SHARED / name))
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; name it in {variable} to run this")
    return folder


@pytest.fixture(scope="session")
def clips_folder() -> Path:
    """Real videos, kept outside the repository."""
    return folder_or_skip("SSPNERF_CLIPS", "clips")


@pytest.fixture(scope="session")
def models_folder() -> Path:
    """Downloaded model files, kept outside the repository."""
    return folder_or_skip("SSPNERF_MODELS", "models")
