"""How the synthetic speaker moves: head, torso, eyelids, brows and gaze over time.

Studio space is where camera and lamps rest; in the reference frame head space, torso space and
studio space are one, so that the poses agree there exactly.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sspnerf.synth.voice import Phoneme

# Peak size of the head's wandering: yaw, pitch, roll in radians; shift right, up, forward in cm.
HEAD_SWAY = np.array([0.13, 0.07, 0.05, 0.8, 0.4, 0.8])
SWAY_HZ = (0.11, 0.6)
SWAY_WAVES = 4
# The torso follows by this share, so much later.
TORSO_SHARE = np.array([0.35, 0.3, 0.35, 0.5, 0.4, 0.4])
TORSO_LAG_S = 0.3
# What is turned around: the top of the spine, and the hips.
HEAD_PIVOT = np.array([0.0, -7.0, -4.5])
TORSO_PIVOT = np.array([0.0, -45.0, -5.0])
BREATH_HZ, BREATH_CM, BREATH_RAD = 0.27, 0.22, 0.006
NOD_RAD, EMPHASIS_S, EMPHASISED_SHARE = 0.03, 0.35, 0.4
BLINK_EVERY_S, BLINK_S, BLINK_CLOSED_S = (2.0, 5.0), 0.28, 0.06
# How long the pull towards the common pose of the reference frame lasts.
AGREEMENT_S = 0.8
GAZE_EVERY_S, GAZE_CM, SACCADE_S = (0.8, 2.5), (0.16, 0.07), 0.06
# The lens is lower than the eyes.
GAZE_AT_LENS_CM = (0.0, -0.12)
# The eyeball's radius turns an angle into a shift of the iris.
EYEBALL_CM = 1.2


@dataclass(frozen=True, kw_only=True)
class Motion:
    """One row per frame."""

    head_to_studio: NDArray[np.float64]
    """Rigid transforms, cm. Shape (frames, 4, 4)."""
    torso_to_studio: NDArray[np.float64]
    """Rigid transforms, cm. Shape (frames, 4, 4)."""
    eye_openness: NDArray[np.float64]
    """0 closed to 1 open. Shape (frames,)."""
    brow_raise: NDArray[np.float64]
    """0 at rest to 1 raised. Shape (frames,)."""
    gaze: NDArray[np.float64]
    """Shift of the irises right and up, cm. Shape (frames, 2)."""


def move(
    times_s: NDArray[np.float64], phonemes: Sequence[Phoneme], *, reference_s: float, seed: int
) -> Motion:
    """Plan all movements but the mouth's.

    Args:
        times_s: When each frame is taken, seconds. Shape (frames,).
        phonemes: What is said; some stressed sounds come with a nod and raised brows.
        reference_s: When head and torso stand as the scene defines them.
        seed: Of every random choice.
    """
    generator = np.random.default_rng([seed, 1])
    waves = _Waves(generator)
    since = times_s - reference_s
    near = np.exp(-0.5 * (since / AGREEMENT_S) ** 2)[:, None]
    emphasis = _emphasis(times_s, phonemes, generator)
    nod = NOD_RAD * np.array([0, 1, 0, 0, 0, 0])
    head = waves.at(since) + emphasis[:, None] * nod
    head_here = waves.at(np.zeros(1)) + np.interp(reference_s, times_s, emphasis) * nod
    head = head - near * head_here
    torso = TORSO_SHARE * waves.at(since - TORSO_LAG_S)
    torso = torso - near * TORSO_SHARE * waves.at(np.full(1, -TORSO_LAG_S))
    # Sine of the time since the reference frame: no breath is drawn there.
    breath = np.sin(2 * np.pi * BREATH_HZ * since)
    torso[:, 1] -= BREATH_RAD * breath
    torso[:, 4] += BREATH_CM * breath
    # The shoulders lift the head too.
    head[:, 4] += BREATH_CM * breath
    return Motion(
        head_to_studio=_rigid(head, HEAD_PIVOT),
        torso_to_studio=_rigid(torso, TORSO_PIVOT),
        eye_openness=_blinks(times_s, generator),
        brow_raise=np.clip(0.9 * emphasis + 0.15 * waves.at(since)[:, 1] / HEAD_SWAY[1], 0, 1),
        gaze=_gaze(times_s, generator) - EYEBALL_CM * head[:, :2] * np.array([0.8, -0.8]),
    )


class _Waves:
    """Slow wandering in the six freedoms: sums of sines at random frequencies and phases."""

    def __init__(self, generator: np.random.Generator) -> None:
        shape = (SWAY_WAVES, len(HEAD_SWAY))
        low, high = math.log(SWAY_HZ[0]), math.log(SWAY_HZ[1])
        self.frequency = np.exp(generator.uniform(low, high, shape))
        self.phase = generator.uniform(0, 2 * np.pi, shape)
        # Slow waves are larger, as in people; together they stay within the sway.
        strength = self.frequency**-0.7
        self.strength = HEAD_SWAY * strength / strength.sum(axis=0)

    def at(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return yaw, pitch, roll, right, up, forward. Shape (times, 6)."""
        angle = 2 * np.pi * self.frequency * times[:, None, None] + self.phase
        return np.asarray((self.strength * np.sin(angle)).sum(axis=1))


def _rigid(freedoms: NDArray[np.float64], pivot: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn about a pivot, then shift. Shape (frames, 6) to (frames, 4, 4)."""
    transforms = np.tile(np.eye(4), (len(freedoms), 1, 1))
    transforms[:, :3, :3] = Rotation.from_euler("YXZ", freedoms[:, :3]).as_matrix()
    transforms[:, :3, 3] = pivot - transforms[:, :3, :3] @ pivot + freedoms[:, 3:]
    return transforms


def _emphasis(
    times_s: NDArray[np.float64], phonemes: Sequence[Phoneme], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return 0 to 1 over time: swells around some of the stressed sounds."""
    emphasis = np.zeros(len(times_s))
    for phoneme in phonemes:
        if phoneme.symbol.startswith("ˈ") and generator.random() < EMPHASISED_SHARE:
            away = (times_s - 0.5 * (phoneme.start_s + phoneme.end_s)) / EMPHASIS_S
            swell = 0.5 + 0.5 * np.cos(np.pi * np.clip(away, -1, 1))
            emphasis = np.maximum(emphasis, generator.uniform(0.4, 1.0) * swell)
    return emphasis


def _blinks(times_s: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return the eyes' openness; they shut faster than they open."""
    openness = np.ones(len(times_s))
    middle = generator.uniform(0.5, 1.2)
    closing = 0.4 * (BLINK_S - BLINK_CLOSED_S)
    opening = 0.6 * (BLINK_S - BLINK_CLOSED_S)
    while middle < times_s[-1] + 1.0:
        before = np.clip((middle - 0.5 * BLINK_CLOSED_S - times_s) / closing, 0, 1)
        after = np.clip((times_s - middle - 0.5 * BLINK_CLOSED_S) / opening, 0, 1)
        share = np.maximum(before, after)
        openness = np.minimum(openness, share * share * (3 - 2 * share))
        middle += generator.uniform(*BLINK_EVERY_S)
    return openness


def _gaze(times_s: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return small jumps of the eyes around the lens. Shape (frames, 2), cm."""
    gaze = np.tile(GAZE_AT_LENS_CM, (len(times_s), 1))
    jump_s, goal = 0.0, np.zeros(2)
    while jump_s < times_s[-1]:
        change = np.clip((times_s - jump_s) / SACCADE_S, 0, 1)[:, None]
        new = generator.uniform(-1, 1, 2) * np.array(GAZE_CM)
        gaze += change * (new - goal)
        goal = new
        jump_s += generator.uniform(*GAZE_EVERY_S)
    return gaze
