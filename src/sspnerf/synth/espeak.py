"""Speak one text with the espeak-ng library, in a process of its own.

Run as a script by `voice.speak_text`: espeak-ng keeps state from one text to the next (pitch
flutter, noise, the chosen voice), so that only a fresh process says the same text the same way
twice. Imports nothing of sspnerf: the script must run wherever the parent found the package.

    usage: python espeak.py VOICE SEED < text   (UTF-8)

On standard output: one line of JSON `{"rate": Hz, "phonemes": [[symbol, first sample], ...]}`, then
the samples as native int16. Exit code 3: no such voice; 4: the library is missing; 5: it failed.
"""

import ctypes
import json
import sys

AUDIO_OUTPUT_SYNCHRONOUS = 2
PHONEME_EVENTS, PHONEME_IPA, DONT_EXIT = 1, 2, 0x8000
EVENT_LIST_TERMINATED, EVENT_PHONEME = 0, 7
POSITION_IS_CHARACTER, CHARACTERS_ARE_UTF8 = 1, 1
NO_SUCH_VOICE, NO_LIBRARY, FAILED = 3, 4, 5


class EventId(ctypes.Union):
    """What an event names: a number, or up to 8 bytes of a phoneme's symbol."""

    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("text", ctypes.c_ubyte * 8))


class Event(ctypes.Structure):
    """`espeak_EVENT` of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", EventId),
    )


SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event)
)


def main() -> int:
    """Speak standard input; see the module."""
    try:
        import espeakng_loader
    except ImportError:
        return NO_LIBRARY
    voice, seed = sys.argv[1], int(sys.argv[2])
    text = sys.stdin.buffer.read()
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(
        AUDIO_OUTPUT_SYNCHRONOUS,
        0,
        str(espeakng_loader.get_data_path()).encode(),
        PHONEME_EVENTS | PHONEME_IPA | DONT_EXIT,
    )
    if rate <= 0:
        return FAILED
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        return NO_SUCH_VOICE
    library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
    samples, phonemes, failed = collect(library, text)
    if failed:
        return FAILED
    sys.stdout.buffer.write(json.dumps({"rate": rate, "phonemes": phonemes}).encode() + b"\n")
    sys.stdout.buffer.write(samples)
    return 0


def collect(library: ctypes.CDLL, text: bytes) -> tuple[bytearray, list[tuple[str, int]], bool]:
    """Run the synthesis: int16 samples, phonemes with their first sample, and whether it failed."""
    samples = bytearray()
    phonemes: list[tuple[str, int]] = []

    def receive(
        wave: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[Event]"
    ) -> int:
        if count > 0:
            samples.extend(ctypes.string_at(wave, 2 * count))
        i = 0
        while events[i].type != EVENT_LIST_TERMINATED:
            if events[i].type == EVENT_PHONEME:
                symbol = bytes(events[i].id.text).split(b"\0")[0].decode("utf-8", "ignore")
                phonemes.append((symbol, events[i].sample))
            i += 1
        return 0

    callback = SynthCallback(receive)
    library.espeak_SetSynthCallback(callback)
    status = library.espeak_Synth(
        text, ctypes.c_size_t(len(text) + 1), 0, POSITION_IS_CHARACTER, 0, CHARACTERS_ARE_UTF8,
        None, None,
    )  # fmt: skip
    return samples, phonemes, status != 0


if __name__ == "__main__":
    sys.exit(main())
