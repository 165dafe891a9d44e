"""From phonemes to mouth shapes: the table, and smooth curves over time (docs/synth.md).

A phoneme's symbol is read letter by letter (`aɪ` moves from `a` to `ɪ`); each letter belongs to a
viseme, and each viseme has a mouth shape:

    opening     gap between the lips at their middle, cm, >= 0
    half_width  from the mouth's middle to a corner, cm
    protrusion  how far the lips are rounded and pushed forward, [0, 1]
    teeth       how much of the teeth shows between the lips, [0, 1]
"""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.synth.voice import SILENCE, Phoneme

MOUTH_AXES = ("opening", "half_width", "protrusion", "teeth")


class MouthShape(NamedTuple):
    """One mouth shape; see the module for units."""

    opening: float
    half_width: float
    protrusion: float
    teeth: float


REST_VISEME = "rest"
NEUTRAL_VISEME = "neutral"
VISEMES: dict[str, MouthShape] = {
    REST_VISEME: MouthShape(0.0, 2.55, 0.0, 0.3),
    "lips": MouthShape(0.0, 2.45, 0.15, 0.0),
    "lip_teeth": MouthShape(0.25, 2.55, 0.0, 1.0),
    "tongue_teeth": MouthShape(0.5, 2.55, 0.0, 0.8),
    "tongue_ridge": MouthShape(0.55, 2.5, 0.0, 0.6),
    "hiss": MouthShape(0.35, 2.75, 0.0, 1.0),
    "hush": MouthShape(0.55, 2.0, 0.8, 0.9),
    "back": MouthShape(0.65, 2.45, 0.0, 0.4),
    "rhotic": MouthShape(0.5, 2.1, 0.55, 0.4),
    "rounded_glide": MouthShape(0.3, 1.65, 1.0, 0.0),
    NEUTRAL_VISEME: MouthShape(0.6, 2.45, 0.0, 0.4),
    "spread": MouthShape(0.55, 2.85, 0.0, 0.7),
    "mid_front": MouthShape(1.0, 2.7, 0.0, 0.5),
    "open_front": MouthShape(1.6, 2.65, 0.0, 0.5),
    "open_back": MouthShape(1.8, 2.4, 0.1, 0.3),
    "mid_central": MouthShape(0.9, 2.45, 0.0, 0.4),
    "mid_round": MouthShape(1.15, 2.0, 0.6, 0.1),
    "close_round": MouthShape(0.55, 1.65, 1.0, 0.0),
}

# Letters of the International Phonetic Alphabet that espeak-ng's voices use, by viseme.
VISEME_LETTERS: dict[str, str] = {
    "lips": "pbmɓ",
    "lip_teeth": "fvɱʋ",
    "tongue_teeth": "θð",
    "tongue_ridge": "tdnlɫɬɾɗɭɳʈɖ",
    "hiss": "szɕʑ",
    "hush": "ʃʒʂʐ",
    "back": "kgɡŋxɣcɟɲʎqχʁʀɴç",
    "rhotic": "ɹrɻɽɚɝ",
    "rounded_glide": "wʍɥɸβ",
    NEUTRAL_VISEME: "hɦʔħʕ",
    "spread": "iɪjɨᵻ",
    "mid_front": "eɛ",
    "open_front": "aæ",
    "open_back": "ɑʌɐ",
    "mid_central": "əɜɘɤɵ",
    "mid_round": "oɔɒøœɞ",
    "close_round": "uʊyʏʉɯ",
}
LETTER_TO_VISEME = {letter: name for name, letters in VISEME_LETTERS.items() for letter in letters}

# Lips that meet (or touch the teeth) do so whatever stands beside them: at most this opening.
CLOSURES = {"lips": 0.0, "lip_teeth": 0.25}
# A stop's closure comes before its release, which is where espeak-ng's phoneme begins.
CLOSURE_S = 0.09
CLOSURE_RAMP_S = 0.05
# Full width at half height of the coarticulation kernel.
KERNEL_S = 0.07
GRID_HZ = 500


def phoneme_visemes(symbol: str) -> list[str]:
    """List the visemes of a phoneme, in the order they are shown.

    Letters that are not in the table fall back on what they derive from (`ã` on `a`), and else on a
    neutral, slightly open mouth; stress, length and other marks do not show.

    Example:
        >>> phoneme_visemes("ˈaɪ"), phoneme_visemes("m"), phoneme_visemes("_")
        (['open_front', 'spread'], ['lips'], ['rest'])
    """
    if symbol == SILENCE:
        return [REST_VISEME]
    visemes = []
    for letter in unicodedata.normalize("NFD", symbol):
        # Lm and Mn are marks (stress, length, nasal ...); espeak-ng adds digits for variants.
        if letter in LETTER_TO_VISEME:
            visemes.append(LETTER_TO_VISEME[letter])
        elif unicodedata.category(letter) in ("Ll", "Lo"):
            visemes.append(NEUTRAL_VISEME)
    # An affricate is one gesture: the lips are set for its second half from the start.
    if len(visemes) == 2 and visemes[0] == "tongue_ridge" and visemes[1] in ("hush", "hiss"):
        visemes = visemes[1:]
    return visemes or [NEUTRAL_VISEME]


def mouth_shapes(
    phonemes: Sequence[Phoneme], frame_times_s: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Move the mouth through the phonemes' shapes.

    Each phoneme pulls for as long as it lasts; the pull is smoothed by a kernel of about 70 ms, so
    that short sounds between open vowels open the mouth and rounded ones round their neighbours.
    Lips that must meet for p, b, m close fully for at least 90 ms.

    Args:
        phonemes: In order, without gaps.
        frame_times_s: When to look, seconds. Shape (frames,).

    Returns:
        Mouth shapes, columns as in `MOUTH_AXES`. Shape (frames, 4).
    """
    times = np.asarray(frame_times_s, dtype=np.float64)
    end_s = max(phonemes[-1].end_s, float(times.max(initial=0.0)))
    grid = (np.arange(int(end_s * GRID_HZ) + 2) + 0.5) / GRID_HZ
    target = np.tile(np.array(VISEMES[REST_VISEME]), (len(grid), 1))
    limits = np.full((len(grid), 2), [0.0, np.inf])
    for phoneme in phonemes:
        visemes = phoneme_visemes(phoneme.symbol)
        edges = np.linspace(phoneme.start_s, phoneme.end_s, len(visemes) + 1)
        for viseme, start_s, stop_s in zip(visemes, edges[:-1], edges[1:], strict=True):
            target[slice(*np.searchsorted(grid, (start_s, stop_s)))] = VISEMES[viseme]
            if viseme in CLOSURES:
                _close(limits, grid, start_s, stop_s, CLOSURES[viseme])
    curves = _smooth(target)
    opening = curves[:, 0]
    curves[:, 0] = opening + limits[:, 0] * (np.minimum(opening, limits[:, 1]) - opening)
    return np.stack([np.interp(times, grid, curve) for curve in curves.T], axis=-1)


def _close(
    limits: NDArray[np.float64],
    grid: NDArray[np.float64],
    start_s: float,
    stop_s: float,
    limit: float,
) -> None:
    """Note a closure: how strongly (0 to 1) and down to which opening the mouth must close."""
    hold_end = stop_s - 0.01
    hold_start = min(start_s - 0.01, hold_end - CLOSURE_S)
    outside = np.maximum(hold_start - grid, grid - hold_end)
    strength = 0.5 + 0.5 * np.cos(np.pi * np.clip(outside / CLOSURE_RAMP_S, 0, 1))
    stronger = strength > limits[:, 0]
    limits[stronger, 0] = strength[stronger]
    limits[stronger, 1] = limit


def _smooth(target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Blur along time with a Hann kernel, the ends held."""
    half = round(KERNEL_S * GRID_HZ)
    kernel = np.hanning(2 * half + 1)[1:-1]
    kernel /= kernel.sum()
    held = np.pad(target, ((half - 1, half - 1), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel, mode="valid") for column in held.T], axis=-1)
