"""Model files: found, checked, refused."""

import hashlib
from pathlib import Path

import pytest

from sspnerf.errors import SspnerfError
from sspnerf.perception import models
from sspnerf.perception.models import MODEL_FILES, ModelFile, model_path

NAME = "hair_segmentation.tflite"


@pytest.fixture
def tiny_model(monkeypatch):
    """A model file whose content the test knows."""
    model = ModelFile(
        name="tiny.bin",
        address="https://example.org/tiny.bin",
        sha256=hashlib.sha256(b"weights").hexdigest(),
        licence="none",
    )
    monkeypatch.setattr(models, "MODEL_FILES", {"tiny.bin": model})
    return model


def no_network(model):
    raise OSError("network is unreachable")


def test_the_named_folder_comes_before_the_download(tiny_model, tmp_path, monkeypatch):
    (tmp_path / "tiny.bin").write_bytes(b"weights")
    monkeypatch.setenv("SSPNERF_MODELS", str(tmp_path))
    assert model_path("tiny.bin", fetch=no_network) == tmp_path / "tiny.bin"


def test_a_file_that_is_not_in_the_named_folder_is_downloaded(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("SSPNERF_MODELS", str(tmp_path))
    fetched = tmp_path / "cache.bin"
    fetched.write_bytes(b"weights")
    assert model_path("tiny.bin", fetch=lambda model: fetched) == fetched


@pytest.mark.refuses
def test_without_file_and_network_the_error_names_file_address_and_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("SSPNERF_MODELS", str(tmp_path))
    with pytest.raises(SspnerfError) as caught:
        model_path(NAME, fetch=no_network)
    message = str(caught.value)
    assert NAME in message
    assert MODEL_FILES[NAME].address in message
    assert "SSPNERF_MODELS" in message
    assert "\n" not in message


@pytest.mark.refuses
def test_a_file_of_other_content_is_refused(tiny_model, tmp_path, monkeypatch):
    (tmp_path / "tiny.bin").write_bytes(b"other weights")
    monkeypatch.setenv("SSPNERF_MODELS", str(tmp_path))
    with pytest.raises(SspnerfError, match=r"tiny\.bin is not the expected file: its SHA-256 is"):
        model_path("tiny.bin", fetch=no_network)


@pytest.mark.refuses
def test_a_download_of_other_content_is_refused(tiny_model, tmp_path, monkeypatch):
    monkeypatch.delenv("SSPNERF_MODELS", raising=False)
    fetched = tmp_path / "cache.bin"
    fetched.write_bytes(b"a login page")
    with pytest.raises(SspnerfError, match="not the expected file"):
        model_path("tiny.bin", fetch=lambda model: fetched)


@pytest.mark.parametrize("model", MODEL_FILES.values(), ids=lambda model: model.name)
def test_every_model_states_where_it_comes_from_and_its_licence(model):
    assert model.address.startswith("https://")
    assert Path(model.address).suffix == Path(model.name).suffix
    assert len(bytes.fromhex(model.sha256)) == 32
    assert model.licence
