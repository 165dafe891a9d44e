"""The voice: phonemes fit the sound, texts fill the time, seeds repeat."""

import itertools

import numpy as np
import pytest

from sspnerf.errors import UsageError
from sspnerf.synth.voice import PASSAGE, SILENCE, speak_for, speak_text


@pytest.fixture(scope="module")
def speech():
    return speak_text("Map. Moon.")


def loudness(waveform, start_s, end_s):
    part = waveform[round(start_s * 16000) : round(end_s * 16000)].astype(float)
    return np.sqrt((part**2).mean())


def test_says_the_phonemes_of_the_words_in_order(speech):
    said = [p.symbol.lstrip("ˈˌ") for p in speech.phonemes if p.symbol != SILENCE]
    assert said == ["m", "a", "p", "m", "uː", "n"]


def test_phonemes_cover_the_sound_without_gaps(speech):
    assert speech.phonemes[0].start_s == 0
    assert speech.phonemes[-1].end_s == len(speech.waveform) / 16000
    for first, second in itertools.pairwise(speech.phonemes):
        assert first.start_s < first.end_s == second.start_s


def test_pauses_are_quiet_and_vowels_are_loud(speech):
    # Away from its neighbours' ends, which ring on.
    middle = {p: (p.start_s + 0.03, p.end_s - 0.03) for p in speech.phonemes}
    pauses = [m for p, m in middle.items() if p.symbol == SILENCE and m[1] - m[0] > 0.05]
    vowels = [m for p, m in middle.items() if p.symbol in ("ˈa", "ˈuː")]
    assert len(pauses) >= 2
    assert len(vowels) == 2
    assert max(loudness(speech.waveform, *m) for m in pauses) < 0.01
    assert min(loudness(speech.waveform, *m) for m in vowels) > 0.05


def test_begins_with_a_closed_mouth(speech):
    assert speech.phonemes[0].symbol == SILENCE
    assert speech.phonemes[0].end_s >= 0.2


@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_cuts_or_repeats_a_text_to_fill_the_time(seconds):
    speech = speak_for(seconds, text="Map. Moon.")
    assert len(speech.waveform) == seconds * 16000
    assert speech.phonemes[-1].end_s == seconds
    maps = sum(p.symbol == "ˈa" for p in speech.phonemes)
    assert maps >= 2 if seconds == 3.0 else maps == 1


def test_the_same_seed_says_the_same_and_another_says_something_else():
    first, again, other = (speak_for(1.5, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first.waveform, again.waveform)
    assert first.phonemes == again.phonemes
    assert [p.symbol for p in first.phonemes] != [p.symbol for p in other.phonemes]


def test_another_text_before_does_not_change_what_is_said():
    first = speak_text("Good morning, five shirts.")
    speak_text("Something else in between.")
    assert np.array_equal(first.waveform, speak_text("Good morning, five shirts.").waveform)


def test_the_passage_is_rich_in_lip_sounds():
    text = " ".join(PASSAGE).lower()
    assert all(text.count(letter) >= 8 for letter in "pbmfvwo")


@pytest.mark.refuses
def test_refuses_a_voice_that_does_not_exist():
    with pytest.raises(UsageError, match="espeak-ng has no voice named 'klingon-opera'"):
        speak_text("Hello.", voice="klingon-opera")


@pytest.mark.refuses
def test_refuses_a_text_without_words():
    with pytest.raises(UsageError, match="holds nothing to say"):
        speak_for(1.0, text=" ... ")


@pytest.mark.refuses
def test_says_what_to_install_where_espeak_is_missing(tmp_path, monkeypatch):
    (tmp_path / "espeakng_loader.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UsageError, match="needs espeak-ng") as caught:
        speak_text("Hello.")
    assert 'pip install "sspnerf[synth]"' in caught.value.hint
