"""Networks that hear, on random small ones: layers, alignment, preprocessing, what is refused."""

import itertools
import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sspnerf.errors import SspnerfError, UsageError
from sspnerf.perception.speech_models import CHECKPOINTS, load_speech_model
from tiny_speech_models import HIDDEN, WHISPER_S, save_model, save_waveform_model

KINDS = ("wav2vec2", "hubert", "whisper")
HOP = 320


@pytest.fixture(scope="module", params=KINDS)
def saved(request, tmp_path_factory):
    kind = request.param
    return kind, save_model(tmp_path_factory.mktemp(kind) / "model", kind)


def noise(seconds, *, seed=0):
    samples = np.random.default_rng(seed).normal(size=round(16000 * seconds))
    return (0.1 * samples).astype(np.float32)


def outputs(kind, folder, given):
    """All that the untouched network says: states between its layers, and its output."""
    import transformers

    name = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel", "whisper": "WhisperModel"}[kind]
    network = getattr(transformers, name).from_pretrained(folder).eval()
    network = network.get_encoder() if kind == "whisper" else network
    with torch.inference_mode():
        told = network(given, output_hidden_states=True)
    return [*told.hidden_states[:-1], told.last_hidden_state]


def given_to(kind, samples):
    """What the networks read, by their definition; transformers' extractors are not asked."""
    if kind == "whisper":
        from transformers import WhisperFeatureExtractor

        extractor = WhisperFeatureExtractor(chunk_length=WHISPER_S)
        padded = np.pad(samples[160:], (0, 16000 * WHISPER_S - len(samples) + 160))
        return torch.from_numpy(extractor._np_extract_fbank_features(padded[None], "cpu")).float()
    normal = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    return torch.from_numpy(np.pad(normal, 40))[None]


def test_every_layer_is_the_network_s_own(saved):
    kind, folder = saved
    samples = noise(0.5)
    expected = outputs(kind, folder, given_to(kind, samples))
    for layer, states in enumerate(expected):
        model = load_speech_model(kind, str(folder), layer=layer)
        features = model.hear(samples)
        assert features.shape == (25, HIDDEN)
        # Whisper's mel filters are computed twice, in float64 and in float32.
        np.testing.assert_allclose(features, states[0, :25].numpy(), atol=3e-4)
    apart = [(a - b).abs().max() for a, b in itertools.pairwise(expected)]
    assert min(apart) > 1e-2


def test_the_last_layer_of_a_large_network_is_its_normalised_output(tmp_path):
    """Large ones normalise once more behind the last layer, which their last state is not."""
    stable = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
    folder = save_waveform_model(tmp_path / "large", "hubert", **stable)
    samples = noise(0.5)
    features = load_speech_model("hubert", str(folder), layer=4).hear(samples)
    expected = outputs("hubert", folder, given_to("hubert", samples))[-1]
    np.testing.assert_allclose(features, expected[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(features.mean(axis=1), 0, atol=1e-5)


@pytest.mark.parametrize(("kind", "layers", "expected"), [("hubert", 4, 3), ("whisper", 2, 2)])
def test_the_layer_that_is_heard_by_default(kind, layers, expected, tmp_path):
    folder = save_model(tmp_path / kind, kind, layers=layers)
    assert load_speech_model(kind, str(folder)).layer == expected


def local_network(folder, kind):
    """A network whose layer 0 sees one stretch of sound: no normalisation over time."""
    if kind == "whisper":
        return save_model(folder, kind)
    save_waveform_model(folder, kind, normalize=False, feat_extract_norm="layer")
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        # The convolution that tells places apart sees 8 features on either side.
        if "pos_conv_embed" in name and ("original0" in name or name.endswith("bias")):
            weights[name] = torch.zeros_like(weights[name])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_click_is_heard_where_it_is(kind, tmp_path):
    """Feature j is centred on sample 320 j + 160, so on average clicks are found where they are."""
    model = load_speech_model(kind, str(local_network(tmp_path / kind, kind)), layer=0)
    quiet, off = noise(1.0), []
    before = model.hear(quiet)
    for sample in np.linspace(4000, 12000, 41).astype(int):
        clicked = quiet.copy()
        clicked[sample] += 0.5
        change = np.abs(model.hear(clicked) - before).max(axis=1)
        centre = np.arange(50) * HOP + HOP / 2
        off.append((change * centre).sum() / change.sum() - sample)
    assert abs(np.mean(off)) < 25
    assert np.abs(off).max() < HOP


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
def test_a_feature_hears_400_samples_around_its_middle(kind, tmp_path):
    model = load_speech_model(kind, str(local_network(tmp_path / kind, kind)), layer=0)
    quiet = noise(0.2)
    before, middle = model.hear(quiet), HOP * np.arange(10) + HOP // 2
    for sample in (0, 359, 360, 1239, 1240, 1399, 1400, 1639, 1640, 3199):
        clicked = quiet.copy()
        clicked[sample] += 0.5
        hears = (model.hear(clicked) != before).any(axis=1)
        np.testing.assert_array_equal(hears, (middle - 200 <= sample) & (sample < middle + 200))


def test_how_a_recording_is_cut(saved):
    kind, folder = saved
    model = load_speech_model(kind, str(folder))
    assert (model.hop, model.dim) == (HOP, HIDDEN)
    # Whisper hears 2 s here, in all.
    expected = (100 - 2 * 16, 16) if kind == "whisper" else (200, 100)
    assert (model.kept, model.context) == expected


def test_loudness_matters_only_where_the_preprocessor_says_so(tmp_path):
    samples = noise(0.3)
    for normalize in (True, False):
        folder = tmp_path / str(normalize)
        save_waveform_model(folder, "wav2vec2", normalize=normalize, feat_extract_norm="layer")
        model = load_speech_model("wav2vec2", str(folder))
        same = np.allclose(model.hear(samples), model.hear(3 * samples), atol=1e-4)
        assert same == normalize


def test_a_folder_without_preprocessor_is_heard_as_the_published_ones_are(saved, tmp_path):
    kind, folder = saved
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((folder / name).read_bytes())
    samples = noise(0.3)
    features = load_speech_model(kind, str(bare)).hear(samples)
    np.testing.assert_array_equal(features, load_speech_model(kind, str(folder)).hear(samples))


def test_published_files_name_two_weights_otherwise(tmp_path):
    """Checkpoints of 2021 say weight_g and weight_v; read wrongly, these two would be random."""
    folder = save_waveform_model(tmp_path / "new", "wav2vec2")
    samples = noise(0.3)
    expected = load_speech_model("wav2vec2", str(folder)).hear(samples)
    weights, old = load_file(folder / "model.safetensors"), {}
    for name, tensor in weights.items():
        for new, before in (("original0", "weight_g"), ("original1", "weight_v")):
            name = name.replace(f"parametrizations.weight.{new}", before)
        old[name] = tensor
    assert set(old) - set(weights)
    save_file(old, folder / "model.safetensors", {"format": "pt"})
    features = load_speech_model("wav2vec2", str(folder)).hear(samples)
    np.testing.assert_array_equal(features, expected)


def test_the_fingerprint_is_of_the_weights_that_are_heard(tmp_path):
    folder = save_waveform_model(tmp_path / "a", "hubert")
    again = save_waveform_model(tmp_path / "b", "hubert")
    other = save_waveform_model(tmp_path / "c", "hubert", seed=1)
    weights = load_file(again / "model.safetensors")
    above = "hubert.encoder.layers.3.final_layer_norm.bias"
    save_file(weights | {above: weights[above] + 1}, again / "model.safetensors", {"format": "pt"})
    first = load_speech_model("hubert", str(folder)).weights
    assert len(first) == 16
    assert load_speech_model("hubert", str(again)).weights == first
    assert load_speech_model("hubert", str(again), layer=4).weights != first
    assert load_speech_model("hubert", str(other)).weights != first


def test_every_published_network_is_free_to_use():
    assert set(CHECKPOINTS) == set(KINDS)
    assert all("Apache-2.0" in checkpoint.licence for checkpoint in CHECKPOINTS.values())


@pytest.mark.refuses
def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match="need transformers, which is not installed") as caught:
        load_speech_model("hubert")
    assert caught.value.hint == 'pip install "sspnerf[speech]"'


@pytest.mark.refuses
def test_a_network_that_cannot_be_had_is_one_line(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in (None, "nobody/nothing"):
        with pytest.raises(SspnerfError, match=r"speech model .* cannot be loaded") as caught:
            load_speech_model("hubert", name)
        assert (name or CHECKPOINTS["hubert"].name) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "--speech-model FOLDER" in caught.value.hint
    assert capfd.readouterr().err == ""


@pytest.mark.refuses
@pytest.mark.parametrize("name", ["/no/such/folder", "./none", "~/none/at/all", "a/b/c"])
def test_a_folder_that_is_not_there_is_refused_at_once(name):
    with pytest.raises(UsageError, match=f"there is no folder {name}"):
        load_speech_model("wav2vec2", name)


@pytest.mark.refuses
def test_what_does_not_fit_is_refused(saved, tmp_path):
    kind, folder = saved
    other = "hubert" if kind == "wav2vec2" else "wav2vec2"
    with pytest.raises(UsageError, match=f"is a {kind}; expected a {other}"):
        load_speech_model(other, str(folder))
    depth = 2 if kind == "whisper" else 4
    with pytest.raises(UsageError, match=rf"speech layer is {depth + 1}; .* layers 0 to {depth}"):
        load_speech_model(kind, str(folder), layer=depth + 1)


@pytest.mark.refuses
def test_weights_that_are_missing_or_pickled_are_refused(tmp_path):
    folder = save_waveform_model(tmp_path / "part", "hubert")
    weights = load_file(folder / "model.safetensors")
    del weights["hubert.encoder.layers.0.attention.k_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(SspnerfError, match=r"1 weights are missing, .*k_proj\.weight"):
        load_speech_model("hubert", str(folder))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(SspnerfError, match=r"no file named model\.safetensors"):
        load_speech_model("hubert", str(folder))
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(SspnerfError, match="cannot be loaded"):
        load_speech_model("hubert", str(folder))


@pytest.mark.refuses
def test_a_preprocessor_of_another_network_is_refused(tmp_path):
    folder = save_model(tmp_path / "whisper", "whisper")
    file = folder / "preprocessor_config.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"chunk_length": 30, "n_samples": 480_000}))
    with pytest.raises(UsageError, match="hears 32000 samples, and its preprocessor gives 480000"):
        load_speech_model("whisper", str(folder))
    folder = save_model(tmp_path / "hubert", "hubert")
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sampling_rate": 8000}))
    with pytest.raises(SspnerfError, match="it hears 8000 Hz; expected 16000"):
        load_speech_model("hubert", str(folder))
