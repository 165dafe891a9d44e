"""How large the published networks are: counted by hand and as built."""

from sspnerf.config import PRESETS
from sspnerf.data.semantics import SEMANTIC_CLASSES
from sspnerf.fields.driven_perceptrons import DrivenPerceptrons
from sspnerf.fields.head_and_torso import HeadAndTorso

# DeepSpeech: 16 windows of 29 numbers.
WINDOW, FEATURE_DIM = 16, 29
# Trunk of 8 x 256 on 63 + 64 inputs, again after the fifth layer; density; feature layer; three
# view layers of 128 on 256 + 27; color.
ADNERF_FIELD = (
    (127 * 256 + 256) + 6 * (256 * 256 + 256) + ((127 + 256) * 256 + 256)
    + (256 + 1) + (256 * 256 + 256)
    + (283 * 128 + 128) + 2 * (128 * 128 + 128) + (128 * 3 + 3)
)  # fmt: skip
SPEECH = 34_949


def count(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_adnerfs_head_has_its_published_size():
    """0.662 M a field, 1.358 M with coarse, fine and audio: 5.18 MiB (ER-NeRF's table: 5.21 MB)."""
    made = HeadAndTorso(PRESETS["adnerf"], feature_dim=FEATURE_DIM, window=WINDOW)
    assert count(made.head_coarse) == count(made.head_fine) == ADNERF_FIELD == 661_636
    assert count(made.speech_encoder) == SPEECH
    assert count(made.head_coarse, made.head_fine, made.speech_encoder) == 1_358_221


def test_adnerfs_torso_is_told_the_pose():
    made = HeadAndTorso(PRESETS["adnerf"], feature_dim=FEATURE_DIM, window=WINDOW)
    # 42 more inputs (rotation and shift, three frequencies), which enter twice.
    assert count(made.torso_fine) == ADNERF_FIELD + 2 * 42 * 256


def test_the_papers_field_is_adnerfs_with_mesh_codes_and_a_semantic_branch():
    made = DrivenPerceptrons(
        PRESETS["paper"], feature_dim=FEATURE_DIM, window=WINDOW, classes=SEMANTIC_CLASSES,
        vertices=478,
    )  # fmt: skip
    semantic = (256 * 128 + 128) + (128 * 11 + 11)
    mesh = 2 * 32 * 256
    assert count(made.coarse) == count(made.fine) == ADNERF_FIELD + semantic + mesh == 712_335
    assert count(made.speech_encoder) == SPEECH
