"""The synthetic speaker's voice: text in, sound and timed phonemes out (espeak-ng)."""

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from sspnerf.errors import MediaError, UsageError
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ
from sspnerf.synth import espeak

SILENCE = "_"
# Silence before the first word, so that the portrait begins with its mouth closed.
LEAD_S = 0.2
FADE_S = 0.02
# espeak-ng says about 15 characters a second; a little more text than that is asked for.
CHARACTERS_PER_S = 18
MAX_TRIES = 4
TIMEOUT_S = 300

PASSAGE = (
    "Good evening, and welcome to the program.",
    "Five brave fishermen pushed their boats off before the fog moved in.",
    "My mother paints warm pictures of the harbour and hangs them above the stove.",
    "We often wonder who chose the shape of this small yellow jug.",
    "Please bring a map, both maps, and a bottle of water for everybody.",
    "The judge thought that the measure was useful, though rather vague.",
    "Out in the park a boy blows bubbles, and a puppy jumps up to pop them.",
    "Seven thin thieves threw three feathers through the open door.",
    "How now should you move a huge blue moon across the room?",
    "She sells fresh bread, sharp cheese and cheap orange juice near the church.",
    "They are always late, yet they never hurry.",
    "Nobody knew why the big old clock began to ring at a quarter past four.",
    "Enjoy the view, take a deep breath, and choose your words with care.",
    "A tall man in a velvet coat asked me for a cup of coffee.",
    "What a pleasure it is to be here with you, both by day and by night.",
    "Half of the beavers vanished; the others built a better home.",
)


@dataclass(frozen=True, kw_only=True)
class Phoneme:
    """One sound of speech."""

    symbol: str
    """International Phonetic Alphabet, stress marks included; `SILENCE` for a pause."""
    start_s: float
    """When it begins, seconds from the start of the waveform."""
    end_s: float
    """When the next one begins."""


@dataclass(frozen=True, kw_only=True)
class Speech:
    """What was said: the sound, and which phoneme sounds when."""

    waveform: NDArray[np.float32]
    """Mono at 16 kHz in [-1, 1]. Shape (samples,)."""
    phonemes: tuple[Phoneme, ...]
    """In order, without gaps, from 0 to the waveform's end."""


def speak_text(text: str, *, voice: str = "en", seed: int = 0) -> Speech:
    """Say a text once.

    The same text, voice and seed give the same samples, always.

    Args:
        text: What to say, in the voice's language.
        voice: An espeak-ng voice or language: `en`, `en-us`, `de`, `en+f3` ...
        seed: Of the voice's natural unevenness, >= 0.

    Raises:
        UsageError: If espeak-ng is not installed, has no such voice, or nothing is to be said.
        MediaError: If espeak-ng fails.
    """
    header, samples = _run_espeak(text.replace("\0", " "), voice, seed)
    if not samples.any():
        raise UsageError(f"the text {text[:40]!r} holds nothing to say", "give it some words")
    rate = int(header["rate"])
    common = math.gcd(rate, SPEECH_SAMPLE_RATE_HZ)
    waveform = resample_poly(
        samples.astype(np.float64) / 32768, SPEECH_SAMPLE_RATE_HZ // common, rate // common
    )
    lead = np.zeros(round(LEAD_S * SPEECH_SAMPLE_RATE_HZ))
    waveform = np.concatenate([lead, np.clip(waveform, -1, 1)]).astype(np.float32)
    starts = [
        (str(symbol) or SILENCE, LEAD_S + first / rate) for symbol, first in header["phonemes"]
    ]
    end_s = len(waveform) / SPEECH_SAMPLE_RATE_HZ
    return Speech(waveform=waveform, phonemes=_without_gaps([(SILENCE, 0.0), *starts], end_s))


def speak_for(seconds: float, *, text: str = "", voice: str = "en", seed: int = 0) -> Speech:
    """Speak for a given time: a text is repeated or cut, without one a passage of our own is read.

    Args:
        seconds: How long, > 0.
        text: What to say; empty for the built-in passage, its sentences in an order that follows
            from the seed.
        voice: An espeak-ng voice or language.
        seed: Of the order of sentences and of the voice's unevenness, >= 0.

    Returns:
        Exactly round(seconds * 16000) samples; the end fades out if it was cut.

    Raises:
        UsageError: If espeak-ng is not installed, has no such voice, or nothing is to be said.
        MediaError: If espeak-ng fails.
    """
    once = text or " ".join(np.random.default_rng(seed).permutation(PASSAGE))
    wanted = round(seconds * SPEECH_SAMPLE_RATE_HZ)
    characters = CHARACTERS_PER_S * seconds + 20
    for _ in range(MAX_TRIES):
        speech = speak_text(_repeated(once, characters), voice=voice, seed=seed)
        if len(speech.waveform) >= wanted:
            return _cut(speech, wanted)
        characters *= 1.3 * wanted / len(speech.waveform)
    return _cut(_padded(speech, wanted), wanted)


def _repeated(text: str, characters: float) -> str:
    """Repeat a text until it is long enough, and leave out whole words that are too many."""
    words = (f"{text.strip()}\n" * math.ceil(characters / (len(text.strip()) + 1))).split(" ")
    length = 0
    for count, word in enumerate(words, start=1):
        length += len(word) + 1
        if length >= characters:
            return " ".join(words[:count])
    return " ".join(words)


def _cut(speech: Speech, samples: int) -> Speech:
    if len(speech.waveform) == samples:
        return speech
    waveform = speech.waveform[:samples].copy()
    fade = min(round(FADE_S * SPEECH_SAMPLE_RATE_HZ), samples)
    waveform[samples - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    end_s = samples / SPEECH_SAMPLE_RATE_HZ
    kept = [(p.symbol, p.start_s) for p in speech.phonemes if p.start_s < end_s]
    return Speech(waveform=waveform, phonemes=_without_gaps(kept, end_s))


def _padded(speech: Speech, samples: int) -> Speech:
    end_s = len(speech.waveform) / SPEECH_SAMPLE_RATE_HZ
    waveform = np.pad(speech.waveform, (0, samples - len(speech.waveform)))
    starts = [*((p.symbol, p.start_s) for p in speech.phonemes), (SILENCE, end_s)]
    return Speech(
        waveform=waveform, phonemes=_without_gaps(starts, samples / SPEECH_SAMPLE_RATE_HZ)
    )


def _without_gaps(starts: list[tuple[str, float]], end_s: float) -> tuple[Phoneme, ...]:
    """Let each phoneme last until the next; pauses that follow each other become one."""
    kept: list[tuple[str, float]] = []
    for symbol, start_s in starts:
        if start_s < end_s and not (symbol == SILENCE and kept and kept[-1][0] == SILENCE):
            kept.append((symbol, start_s))
    ends = [start_s for _, start_s in kept[1:]] + [end_s]
    return tuple(
        Phoneme(symbol=symbol, start_s=start_s, end_s=end)
        for (symbol, start_s), end in zip(kept, ends, strict=True)
        if end > start_s
    )


def _run_espeak(text: str, voice: str, seed: int) -> tuple[dict[str, Any], NDArray[np.int16]]:
    """Speak in a fresh process (see `espeak`): header and samples at the header's rate."""
    command = [sys.executable, str(Path(espeak.__file__)), voice, str(seed)]
    try:
        done = subprocess.run(  # noqa: S603 - our own script, arguments are not interpreted
            command, input=text.encode(), capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MediaError(f"espeak-ng did not speak: {error}") from error
    if done.returncode == espeak.NO_LIBRARY:
        raise UsageError(
            "the synthetic speaker needs espeak-ng", 'install it: pip install "sspnerf[synth]"'
        )
    if done.returncode == espeak.NO_SUCH_VOICE:
        raise UsageError(
            f"espeak-ng has no voice named {voice!r}", "try en, en-us, en-gb, de, fr or es"
        )
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise MediaError(f"espeak-ng failed with code {done.returncode}: {' '.join(last)}")
    header, _, samples = done.stdout.partition(b"\n")
    return json.loads(header), np.frombuffer(samples, dtype=np.int16)
