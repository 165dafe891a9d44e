"""Random networks of the published architectures, a few thousand weights each, saved like them."""

from pathlib import Path

import torch

HIDDEN = 16
# Whisper hears 2 s here instead of 30.
WHISPER_S = 2


def save_waveform_model(folder: Path, kind: str, *, layers=4, seed=0, normalize=True, **changes):
    """Save a wav2vec 2.0 or HuBERT with the published convolutions, fine-tuned head and all."""
    import transformers

    name = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert"}[kind]
    config = getattr(transformers, f"{name}Config")(
        **(
            {
                "hidden_size": HIDDEN,
                "num_hidden_layers": layers,
                "num_attention_heads": 2,
                "intermediate_size": 32,
                "conv_dim": (8,) * 7,
                "num_conv_pos_embeddings": 16,
                "num_conv_pos_embedding_groups": 2,
                "vocab_size": 32,
            }
            | changes
        )
    )
    torch.manual_seed(seed)
    getattr(transformers, f"{name}ForCTC")(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=normalize).save_pretrained(folder)
    return folder


def save_whisper(folder: Path, *, layers=2, seed=0):
    """Save a Whisper with its decoder."""
    import transformers

    config = transformers.WhisperConfig(
        d_model=HIDDEN,
        encoder_layers=layers,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        vocab_size=32,
        max_source_positions=50 * WHISPER_S,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    torch.manual_seed(seed)
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(chunk_length=WHISPER_S).save_pretrained(folder)
    return folder


def save_model(folder: Path, kind: str, **changes):
    """Save any of them."""
    if kind == "whisper":
        return save_whisper(folder, **changes)
    return save_waveform_model(folder, kind, **changes)
