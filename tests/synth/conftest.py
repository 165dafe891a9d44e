"""One short take of the synthetic speaker, shared by all tests here."""

import pytest

from sspnerf.config import SynthConfig
from sspnerf.synth.writer import write_synthetic_clip

TEXT = "Papa, my mum bought a big map. We saw five more boats."


@pytest.fixture(scope="session")
def settings():
    return SynthConfig(text=TEXT, size=48, seconds=1.8, seed=3)


@pytest.fixture(scope="session")
def clip(tmp_path_factory, settings):
    return write_synthetic_clip(tmp_path_factory.mktemp("synth") / "clip", settings)
