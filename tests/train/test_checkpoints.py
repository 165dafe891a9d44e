"""Checkpoints: what is saved comes back, and what is damaged is refused."""

import numpy as np
import pytest
import torch

from sspnerf.errors import PortraitError
from sspnerf.train.checkpoints import CHECKPOINT, Checkpoint, load_checkpoint, save_checkpoint


def test_everything_comes_back(tmp_path):
    random = np.random.default_rng(5)
    saved = Checkpoint(
        7, 1.25, {"a": torch.arange(6.0).view(2, 3).T}, {"random": random.bit_generator.state}
    )
    save_checkpoint(tmp_path, saved)
    found = load_checkpoint(tmp_path)
    assert (found.step, found.seconds, found.plain) == (7, 1.25, saved.plain)
    torch.testing.assert_close(found.tensors["a"], saved.tensors["a"])
    again = np.random.default_rng()
    again.bit_generator.state = found.plain["random"]
    assert again.integers(1 << 40) == random.integers(1 << 40)


def test_a_newer_checkpoint_replaces_the_older_and_leaves_nothing_else(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, Checkpoint(step, 0.0, {"a": torch.zeros(1)}, {}))
    assert load_checkpoint(tmp_path).step == 2
    assert [p.name for p in (tmp_path / CHECKPOINT).parent.iterdir()] == [CHECKPOINT.name]


@pytest.mark.refuses
def test_a_damaged_checkpoint_is_refused(tmp_path):
    save_checkpoint(tmp_path, Checkpoint(1, 0.0, {"a": torch.zeros(100)}, {}))
    file = tmp_path / CHECKPOINT
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(PortraitError, match="is damaged"):
        load_checkpoint(tmp_path)


@pytest.mark.refuses
def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(PortraitError, match="no checkpoint to resume from"):
        load_checkpoint(tmp_path)
