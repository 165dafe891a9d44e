"""Mouth shapes: closures close, rounding spreads, every letter has a shape."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from sspnerf.synth.visemes import (
    LETTER_TO_VISEME,
    VISEME_LETTERS,
    VISEMES,
    mouth_shapes,
    phoneme_visemes,
)
from sspnerf.synth.voice import PASSAGE, SILENCE, Phoneme, speak_text


def spoken(*sounds):
    """Phonemes from (symbol, seconds) pairs, one after the other."""
    start, phonemes = 0.0, []
    for symbol, length in sounds:
        phonemes.append(Phoneme(symbol=symbol, start_s=start, end_s=start + length))
        start += length
    return phonemes


def shapes_at(phonemes, *times):
    return mouth_shapes(phonemes, np.array(times))


def test_a_long_sound_reaches_its_shape():
    shape = shapes_at(spoken(("a", 1.0)), 0.5)
    np.testing.assert_allclose(shape[0], VISEMES["open_front"], atol=1e-12)


@pytest.mark.parametrize("symbol", ["p", "b", "m"])
@pytest.mark.parametrize("length", [0.02, 0.08])
def test_lips_meet_for_at_least_two_frames_of_a_film_between_open_vowels(symbol, length):
    phonemes = spoken(("ɑː", 0.3), (symbol, length), ("ɑː", 0.3))
    end_s = 0.3 + length
    openings = mouth_shapes(phonemes, np.linspace(end_s - 0.095, end_s - 0.015, 9))[:, 0]
    assert openings.max() == 0.0
    assert shapes_at(phonemes, 0.1)[0, 0] > 1.5
    assert shapes_at(phonemes, end_s + 0.2)[0, 0] > 1.5


def test_the_lower_lip_meets_the_teeth_for_f():
    opening, _, _, teeth = shapes_at(spoken(("ɑː", 0.3), ("f", 0.12), ("ɑː", 0.3)), 0.36)[0]
    assert 0 < opening <= 0.25
    assert teeth > 0.7


def test_rounding_spreads_to_the_neighbours():
    beside_round = shapes_at(spoken(("t", 0.06), ("uː", 0.2)), 0.03)[0, 2]
    beside_spread = shapes_at(spoken(("t", 0.06), ("iː", 0.2)), 0.03)[0, 2]
    assert beside_round > 0.05
    assert beside_spread == 0


def test_a_diphthong_moves_from_its_first_vowel_to_its_second():
    early, late = shapes_at(spoken(("aɪ", 0.6)), 0.15, 0.45)
    np.testing.assert_allclose(early, VISEMES["open_front"], atol=1e-12)
    np.testing.assert_allclose(late, VISEMES["spread"], atol=1e-12)


def test_the_mouth_is_closed_in_silence():
    phonemes = spoken((SILENCE, 0.3), ("ɑː", 0.3), (SILENCE, 0.5))
    np.testing.assert_array_equal(shapes_at(phonemes, 0.1, 0.75, 1.05)[:, 0], 0)


def test_shapes_change_smoothly():
    phonemes = spoken(("a", 0.1), ("p", 0.05), ("u", 0.1), ("s", 0.07), ("ɔː", 0.2))
    shapes = mouth_shapes(phonemes, np.arange(0, 0.5, 0.002))
    # The fastest lips open in about 50 ms: 1.6 cm * pi / 2 / 50 ms * 2 ms = 0.1 cm.
    assert np.abs(np.diff(shapes, axis=0)).max() < 0.12


@pytest.mark.parametrize(
    ("symbol", "visemes"),
    [
        ("m", ["lips"]),
        ("ˈɔː", ["mid_round"]),
        ("ˈəʊ", ["mid_central", "close_round"]),
        ("tʃ", ["hush"]),
        ("dʒ", ["hush"]),
        ("ã", ["open_front"]),
        ("ł", ["neutral"]),
        ("1", ["neutral"]),
        (SILENCE, ["rest"]),
    ],
)
def test_reads_symbols_letter_by_letter(symbol, visemes):
    assert phoneme_visemes(symbol) == visemes


@pytest.mark.parametrize("voice", ["en", "en-us"])
def test_knows_every_letter_that_the_passage_is_spoken_with(voice):
    phonemes = speak_text(" ".join(PASSAGE), voice=voice).phonemes
    letters = set(unicodedata.normalize("NFD", "".join(p.symbol for p in phonemes)))
    marks = {c for c in letters if unicodedata.category(c) in ("Lm", "Mn", "Pc", "Nd")}
    assert letters - marks - set(LETTER_TO_VISEME) == set()
    assert {phoneme_visemes(p.symbol)[0] for p in phonemes} >= set(VISEMES) - {"close_round"}


def test_the_documented_table_is_the_one_in_use():
    page = (Path(__file__).parents[2] / "docs" / "synth.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    documented = {row[0]: row[1:] for row in rows if len(row) == 6}
    for name, shape in VISEMES.items():
        letters, *numbers = documented[name]
        assert tuple(map(float, numbers)) == shape
        assert [x for x in letters.split(" and ")[0].split() if len(x) == 1] == list(
            VISEME_LETTERS.get(name, "")
        )
