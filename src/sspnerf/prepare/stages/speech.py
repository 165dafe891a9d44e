"""Stage `speech`: the sound at 16 kHz, in step with the lips."""

import numpy as np

from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ
from sspnerf.prepare.found import Sound, Take
from sspnerf.prepare.sync import estimate_offset, lip_opening, shift_waveform
from sspnerf.prepare.workspace import Stage, Workspace

# Sound and picture of one take may end this far apart, s.
SOUND_TOLERANCE_S = 0.5
# An offset that nobody sees, s: television allows the sound 45 ms early and 125 ms late at most
# (ITU-R BT.1359).
UNSEEN_OFFSET_S = 0.045


def run(work: Workspace) -> Sound:
    """Write the sound; say where it does not fit the picture."""
    take = work.found(Take)
    work.progress("speech", 0, 1)
    if not take.has_sound:
        work.note_warning(f"{work.video.name} has no sound; train its clip with --speech FILE")
        work.progress("speech", 1, 1)
        return Sound(has_speech=False)
    waveform = np.array(work.array("sound"))
    seconds = (len(waveform) / SPEECH_SAMPLE_RATE_HZ, take.frames / take.frame_rate_hz)
    if abs(seconds[0] - seconds[1]) > SOUND_TOLERANCE_S:
        work.note_warning(f"the sound lasts {seconds[0]:.1f} s and the picture {seconds[1]:.1f} s")
    found = estimate_offset(
        lip_opening(work.array("landmarks")),
        waveform,
        frame_rate_hz=take.frame_rate_hz,
        valid=work.array("valid"),
    )
    if len(found.curve):
        work.create("sync_curve", found.curve.shape, np.float64)[:] = found.curve
    corrected = found.is_known and work.settings.fix_sync
    if corrected:
        waveform = shift_waveform(waveform, found.offset_s)
    elif work.settings.fix_sync:
        work.note_warning(f"the sound is left as it is: {found.reason}")
    elif found.is_known and abs(found.offset_s) > UNSEEN_OFFSET_S:
        side = "late" if found.offset_s > 0 else "early"
        work.note_warning(
            f"the sound is {abs(found.offset_s) * 1000:.0f} ms {side} against the lips; "
            "--fix-sync corrects it"
        )
    work.note_left("speech.wav")
    work.writer.write_speech(waveform)
    work.progress("speech", 1, 1)
    return Sound(
        has_speech=True,
        offset_s=round(found.offset_s, 4) if found.is_known else None,
        correlation=round(found.correlation, 4),
        why_unknown=found.reason,
        corrected=corrected,
    )


STAGE = Stage(
    run=run,
    found=Sound,
    needs=("decode", "tracking"),
    reads=("sound",),
    scratch=("sync_curve",),
    settings=lambda settings: {"fix_sync": settings.fix_sync},
)
