"""The selfie network, through MediaPipe, on a model whose classes are colors."""

import numpy as np
import pytest

from sspnerf.errors import SspnerfError
from sspnerf.perception.multiclass import SelfieClass, SelfieNetwork
from tiny_networks import SELFIE_COLORS, SELFIE_LOGITS, write_selfie_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_selfie_model(tmp_path_factory.mktemp("model") / "selfie_multiclass_256x256.tflite")


def test_each_color_gives_its_class_where_it_is(model):
    """Six stripes, in a picture that is neither square nor of the network's size."""
    picture = np.repeat(np.array([list(SELFIE_COLORS.values())], np.uint8), 100, axis=1)
    picture = np.repeat(picture, 300, axis=0)
    with SelfieNetwork(model) as network:
        found = network.probabilities(picture)
    assert found.shape == (6, 300, 600)
    for stripe, name in enumerate(SELFIE_COLORS):
        classes = found[:, 20:280, 100 * stripe + 10 : 100 * stripe + 90].argmax(axis=0)
        assert (classes == SelfieClass[name.upper()]).all(), name


def test_probabilities_are_the_softmax_of_the_models_logits(model):
    """The metadata's scaling (/ 255) and activation are applied."""
    picture = np.full((256, 256, 3), (102, 51, 204), dtype=np.uint8)
    logits = SELFIE_LOGITS @ np.array([0.4, 0.2, 0.8, 1])
    expected = np.exp(logits) / np.exp(logits).sum()
    with SelfieNetwork(model) as network:
        for _ in range(2):
            found = network.probabilities(picture)
            np.testing.assert_allclose(found[:, 100, 30], expected, atol=1e-5)


def test_it_can_be_closed_twice(model):
    network = SelfieNetwork(model)
    network.close()
    network.close()


@pytest.mark.refuses
@pytest.mark.parametrize("kind", ["no model", "no metadata"])
def test_a_file_that_cannot_run_is_refused_in_one_line(tmp_path, kind):
    path = tmp_path / "selfie_multiclass_256x256.tflite"
    if kind == "no model":
        path.write_bytes(b"a login page")
    else:
        write_selfie_model(path, metadata=False)
    with pytest.raises(
        SspnerfError, match="cannot be run by MediaPipe's Image Segmenter"
    ) as caught:
        SelfieNetwork(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.refuses
def test_a_model_of_other_classes_is_refused(tmp_path):
    path = write_selfie_model(tmp_path / "two.tflite", SELFIE_LOGITS[:2])
    with (
        SelfieNetwork(path) as network,
        pytest.raises(SspnerfError, match="tells 2 classes apart; expected 6"),
    ):
        network.probabilities(np.zeros((64, 64, 3), dtype=np.uint8))
