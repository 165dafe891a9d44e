"""Networks that were trained to hear: wav2vec 2.0, HuBERT and Whisper's encoder (transformers).

None of their weights is in this repository. They are read from a folder, or from the Hugging Face
hub and its cache, always as safetensors. Each gives 50 features a second, all from one layer:

    layer 0     what enters the first transformer layer
    layer k     what the k-th transformer layer gives out
    the last    the network's own output: with its final normalisation, where it has one

Feature j describes samples [320 j, 320 (j + 1)) and is centred on their middle. wav2vec 2.0 and
HuBERT see 400 samples for it and are given 40 more on either side; Whisper's mel frame 2 j is
centred on sample 320 j, so it is given the sound 160 samples early.
"""

import hashlib
import importlib
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from sspnerf.errors import SspnerfError, UsageError

SAMPLE_RATE_HZ = 16000
# Seconds that wav2vec 2.0 and HuBERT hear at once: a block, and context on either side. They were
# trained on at most 15.6 s; peers that hear live get by with 0.2 s of context (RAD-NeRF).
BLOCK_S, CONTEXT_S = 4.0, 2.0
# Of the 30 s that Whisper hears at once, this share on either side is context.
WHISPER_CONTEXT = 1 / 6
# Training needs it, hearing does not; fine-tuned checkpoints leave it out.
_UNUSED_WEIGHTS = "masked_spec_embed"
_WHISPER_HOP = 320


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A published network."""

    name: str
    """Name on the Hugging Face hub, `@revision` where the weights are not on its main branch."""
    depth_share: float
    """Share of the layers up to which is heard, unless a layer is asked for."""
    licence: str
    """Licence and owner, in words."""


CHECKPOINTS: Mapping[str, Checkpoint] = MappingProxyType(
    {
        "wav2vec2": Checkpoint(
            name="facebook/wav2vec2-base-960h", depth_share=0.75, licence="Apache-2.0, Meta AI"
        ),
        # On the main branch there are only pickled weights.
        "hubert": Checkpoint(
            name="facebook/hubert-base-ls960@refs/pr/2",
            depth_share=0.75,
            licence="Apache-2.0, Meta AI",
        ),
        "whisper": Checkpoint(
            name="openai/whisper-tiny", depth_share=1.0, licence="Apache-2.0, OpenAI"
        ),
    }
)


class SpeechModel(ABC):
    """A network that turns a stretch of sound into features of one of its layers.

    Attributes:
        name: Where it came from: a folder, or a name on the hub.
        layer: Whose output is given.
        weights: Fingerprint of all weights up to that layer, 16 hexadecimal digits.
        dim: Width of the features.
        hop: Samples from one feature to the next.
        kept: Features of one block, see `media.feature_stream`.
        context: Features before and behind a block that are heard too.
    """

    dim: int
    hop: int
    kept: int
    context: int

    def __init__(self, network: nn.Module, extractor: Any, *, name: str, layer: int) -> None:  # noqa: ANN401 - transformers is untyped here
        """Cut off the layers that nobody listens to.

        Args:
            network: The network; its `encoder` or itself has `layers`.
            extractor: Its own preprocessing.
            name: Where it came from.
            layer: Whose output is given, from 0 to the number of layers.
        """
        self.name, self.layer = name, layer
        self._network, self._extractor = network.eval(), extractor
        layers = self._layers(network)
        self._ends = layer == len(layers)
        self._heard: list[Tensor] = []
        if not self._ends:
            del layers[max(1, layer) :]
            if layer:
                layers[-1].register_forward_hook(lambda _, __, out: self._heard.append(_first(out)))
            else:
                layers[0].register_forward_pre_hook(lambda _, given: self._heard.append(given[0]))
        self.weights = _fingerprint(network)

    @staticmethod
    @abstractmethod
    def _layers(network: Any) -> nn.ModuleList:  # noqa: ANN401 - transformers is untyped here
        """Find the transformer layers."""

    @abstractmethod
    def _prepare(self, samples: NDArray[np.float32]) -> Tensor:
        """Turn samples into what the network reads, a batch of one."""

    @torch.inference_mode()
    def hear(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the features of some seconds, all at once.

        Args:
            samples: Sound in [-1, 1] at 16 kHz. Shape (count * hop,), count at most
                kept + 2 context.

        Returns:
            Features. Shape (count, dim), float32.
        """
        count = len(samples) // self.hop
        self._heard.clear()
        output = self._network(self._prepare(samples)).last_hidden_state
        heard = output if self._ends else self._heard.pop()
        features: NDArray[np.float32] = heard[0, :count].float().numpy()
        return features


class WaveformModel(SpeechModel):
    """wav2vec 2.0 or HuBERT: convolutions over samples, then a transformer."""

    def __init__(self, network: Any, extractor: Any, *, name: str, layer: int) -> None:  # noqa: ANN401 - transformers is untyped here
        """Read from the network's settings how many samples a feature sees."""
        config = network.config
        self.hop, field = math.prod(config.conv_stride), 1
        for size, stride in zip(
            reversed(config.conv_kernel), reversed(config.conv_stride), strict=True
        ):
            field = (field - 1) * stride + size
        self._before = (field - self.hop) // 2
        self._behind = field - self.hop - self._before
        self.dim = config.hidden_size
        self.kept = max(1, round(BLOCK_S * SAMPLE_RATE_HZ / self.hop))
        self.context = round(CONTEXT_S * SAMPLE_RATE_HZ / self.hop)
        super().__init__(network, extractor, name=name, layer=layer)

    @staticmethod
    def _layers(network: Any) -> nn.ModuleList:  # noqa: ANN401 - transformers is untyped here
        layers: nn.ModuleList = network.encoder.layers
        return layers

    def _prepare(self, samples: NDArray[np.float32]) -> Tensor:
        given = self._extractor(samples, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        # A field of 400 samples around a hop of 320: as many features as hops, each centred.
        return nn.functional.pad(given.input_values, (self._before, self._behind))


class WhisperModel(SpeechModel):
    """Whisper's encoder, which hears 30 s of log-mel features at once."""

    hop = _WHISPER_HOP

    def __init__(self, network: Any, extractor: Any, *, name: str, layer: int) -> None:  # noqa: ANN401 - transformers is untyped here
        """Share the 30 s out between a block and its context."""
        self.dim = network.config.d_model
        heard = network.config.max_source_positions
        self.context = int(WHISPER_CONTEXT * heard)
        self.kept = heard - 2 * self.context
        if extractor.n_samples != heard * _WHISPER_HOP:
            raise UsageError(
                f"{name} hears {heard * _WHISPER_HOP} samples, and its preprocessor gives "
                f"{extractor.n_samples}",
                "both must belong to one checkpoint",
            )
        super().__init__(network, extractor, name=name, layer=layer)

    @staticmethod
    def _layers(network: Any) -> nn.ModuleList:  # noqa: ANN401 - transformers is untyped here
        layers: nn.ModuleList = network.layers
        return layers

    def _prepare(self, samples: NDArray[np.float32]) -> Tensor:
        given = self._extractor(
            samples[_WHISPER_HOP // 2 :], sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt"
        )
        mel: Tensor = given.input_features
        return mel


def load_speech_model(
    kind: str, name: str | None = None, *, layer: int | None = None
) -> SpeechModel:
    """Load a network that hears.

    Args:
        kind: `wav2vec2`, `hubert` or `whisper`.
        name: A folder written by `save_pretrained`, or a name on the Hugging Face hub, with
            `@revision` if wanted. None: the published one in `CHECKPOINTS`.
        layer: Whose output is given, see the module. None: three quarters of the way up for
            wav2vec2 and hubert (docs/speech.md says why), the last for whisper.

    Raises:
        UsageError: If transformers is not installed, the folder does not exist or holds another
            kind of network, or there is no such layer.
        SspnerfError: If the network cannot be had, or lacks weights.
    """
    transformers = _transformers()
    place, revision, name = _place(name or CHECKPOINTS[kind].name)
    source = {"pretrained_model_name_or_path": place, "revision": revision}
    with _quiet(transformers), _in_one_line(name):
        config = transformers.AutoConfig.from_pretrained(**source)
        if config.model_type != kind:
            raise UsageError(
                f"{name} is a {config.model_type}; expected a {kind}",
                "choose the kind of features that fits the network",
            )
        depth = config.encoder_layers if kind == "whisper" else config.num_hidden_layers
        layer = round(CHECKPOINTS[kind].depth_share * depth) if layer is None else layer
        if not 0 <= layer <= depth:
            raise UsageError(f"speech layer is {layer}; {name} has layers 0 to {depth}")
        network = _load_network(transformers, kind, source)
        extractor = _load_extractor(transformers, config, source)
    if kind == "whisper":
        return WhisperModel(network.get_encoder(), extractor, name=name, layer=layer)
    return WaveformModel(network, extractor, name=name, layer=layer)


def _load_network(transformers: Any, kind: str, source: dict[str, str]) -> Any:  # noqa: ANN401 - transformers is untyped here
    """Load all weights; one that is missing would stay random."""
    architecture = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel"}.get(kind, "WhisperModel")
    network, told = getattr(transformers, architecture).from_pretrained(
        **source, use_safetensors=True, output_loading_info=True, dtype=torch.float32
    )
    missing = sorted(name for name in told["missing_keys"] if _UNUSED_WEIGHTS not in name)
    if missing:
        raise ValueError(f"{len(missing)} weights are missing, {missing[0]} is the first")
    return network


def _load_extractor(transformers: Any, config: Any, source: dict[str, str]) -> Any:  # noqa: ANN401 - transformers is untyped here
    """Load the network's preprocessing; where it has none, take what all published ones use."""
    whisper = config.model_type == "whisper"
    kind = (
        transformers.WhisperFeatureExtractor if whisper else transformers.Wav2Vec2FeatureExtractor
    )
    try:
        extractor = kind.from_pretrained(**source)
    except OSError:
        if not whisper:
            return kind()
        heard_s = config.max_source_positions * _WHISPER_HOP // SAMPLE_RATE_HZ
        return kind(feature_size=config.num_mel_bins, chunk_length=heard_s)
    if extractor.sampling_rate != SAMPLE_RATE_HZ:
        raise ValueError(f"it hears {extractor.sampling_rate} Hz; expected {SAMPLE_RATE_HZ}")
    return extractor


def _place(name: str) -> tuple[str, str, str]:
    """Say where a network lies: a folder or a name on the hub; its revision; and both as one."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder.resolve()), "main", str(folder.resolve())
    on_hub, _, revision = name.partition("@")
    if folder.is_absolute() or on_hub.startswith((".", "~")) or on_hub.count("/") > 1:
        raise UsageError(f"there is no folder {name}", "give one that `save_pretrained` wrote")
    return on_hub, revision or "main", name


def _transformers() -> Any:  # noqa: ANN401 - transformers is untyped here
    """Import transformers; late, as it takes seconds and is an extra."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise UsageError(
            "these speech features need transformers, which is not installed",
            'pip install "sspnerf[speech]"',
        ) from error


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:  # noqa: ANN401 - transformers is untyped here
    """Hold back reports about weights that are not used here, and about each attempt to connect.

    What goes wrong is raised all the same.
    """
    bars = transformers.utils.logging
    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub")]
    levels, had_bars = [logger.level for logger in loggers], bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if had_bars:
            bars.enable_progress_bar()


@contextmanager
def _in_one_line(name: str) -> Iterator[None]:
    """Turn whatever the libraries raise into one line of ours."""
    try:
        yield
    except SspnerfError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SspnerfError(
            f"the speech model {name} cannot be loaded: {reason}",
            "connect to the network once, or give a folder: --speech-model FOLDER",
        ) from error


def _first(output: Any) -> Tensor:  # noqa: ANN401 - a tensor, or a tuple in older transformers
    """Take the features out of what a layer gives."""
    tensor: Tensor = output[0] if isinstance(output, tuple) else output
    return tensor


def _fingerprint(network: nn.Module) -> str:
    """Hash all weights that are left, so that others under the same name are noticed."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if _UNUSED_WEIGHTS not in name:
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(tensor.float().numpy()).data)
    return digest.hexdigest()[:16]
