"""A clip as training reads it: which frames, and batches of rays from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from sspnerf.data.clip import Clip
from sspnerf.data.face_rectangle import face_rectangle
from sspnerf.data.mapped import release_pages
from sspnerf.data.pixel_sampling import PixelSampler
from sspnerf.errors import ClipError
from sspnerf.ops.pixel_gathering import gather_pixels

# The first 10 of 11 parts are for training, the last is held out.
# Source: AD-NeRF's and SSP-NeRF's released preprocessing.
SPLIT_PARTS = 11
# The border moves to a cut if the held-out part keeps this share of its length, and at most that.
LEAST_HELD_OUT, MOST_HELD_OUT = 0.5, 2.0
# Of the clip's files, about so many bytes are kept in memory: a clip may be longer than memory.
MAPPED_BYTES = 256 * 1024**2


@dataclass(frozen=True, kw_only=True)
class RayBatch:
    """Pixels to learn from, with their truth."""

    frame_index: NDArray[np.int64]
    """Frames of the clip that the batch draws from. Shape (slots,)."""
    slot: Int[Tensor, " rays"]
    """Which of these each ray is of."""
    pixels: Float[Tensor, "rays 2"]
    """Pixel centres, px."""
    color: Float[Tensor, "rays 3"]
    """True color, [0, 1]."""
    labels: Int[Tensor, " rays"]
    """True semantic class."""
    mask: Float[Tensor, " rays"]
    """True person mask, [0, 1]."""
    background: Float[Tensor, "rays 3"]
    """Plate behind the person, [0, 1]."""


def split_frames(frames: int, cuts: Sequence[int] = ()) -> tuple[range, range]:
    """Return the frames for training and the held-out ones.

    The held-out part is the last eleventh. It begins at a cut, if one is near: then no movement is
    learned that goes on in it.

    Args:
        frames: Of the clip.
        cuts: First frames after a cut, growing.

    Raises:
        ValueError: If there are fewer than two frames.

    Example:
        >>> split_frames(22)
        (range(0, 20), range(20, 22))
        >>> split_frames(22, cuts=(7, 19))
        (range(0, 19), range(19, 22))
    """
    if frames < 2:
        raise ValueError(f"the clip has {frames} frame; expected at least 2")
    training = min(frames - 1, max(1, frames * (SPLIT_PARTS - 1) // SPLIT_PARTS))
    held_out = frames - training
    near = [
        cut
        for cut in cuts
        if LEAST_HELD_OUT * held_out <= frames - cut <= MOST_HELD_OUT * held_out and cut > 0
    ]
    training = min(near, key=lambda cut: abs(cut - training), default=training)
    return range(training), range(training, frames)


class ClipDataset:
    """Reads ray batches from a clip's memory maps.

    A batch costs the same time and memory whatever the clip's length.
    """

    def __init__(self, clip: Clip) -> None:
        """Split the frames; leave out those where tracking failed.

        Raises:
            ClipError: If no training frame is valid.
        """
        self.clip = clip
        if clip.manifest.frames < 2:
            raise ClipError(
                f"{clip.path} has one frame; expected at least 2, to learn from and to hold out",
                "prepare a longer video",
            )
        self.training, self.held_out = split_frames(clip.manifest.frames, clip.manifest.cuts)
        self.usable = np.flatnonzero(clip.valid[: len(self.training)])
        if not len(self.usable):
            raise ClipError(
                f"{clip.path}: no frame for training shows a tracked face",
                "look at preview.mp4 and prepare another part of the video",
            )
        self._mapped = 0

    def choose(
        self, among: NDArray[np.int64], *, frames: int, generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Choose training frames at random, each once.

        Args:
            among: Frames to prefer; others are taken if none of these shows a tracked face.
            frames: How many; fewer where there are not so many.
            generator: Source of randomness.

        Returns:
            Sorted frame indices.
        """
        usable = np.intersect1d(among, self.usable)
        if not len(usable):
            usable = self.usable
        return np.sort(generator.choice(usable, min(frames, len(usable)), replace=False))

    def draw(
        self,
        sampler: PixelSampler,
        index: NDArray[np.int64],
        *,
        rays: int,
        generator: np.random.Generator,
    ) -> RayBatch:
        """Draw a batch of rays from frames of the clip.

        Args:
            sampler: Decides which pixels.
            index: The frames. Shape (slots,).
            rays: Rays in all.
            generator: Source of randomness.
        """
        clip = self.clip
        self._make_room(len(index))
        labels, mask = ([maps[i] for i in index] for maps in (clip.labels, clip.mask))
        rectangles = self._rectangles(index) if sampler.kind == "face-rectangle" else None
        chosen = sampler.draw(labels, mask, rays=rays, generator=generator, rectangles=rectangles)
        found = gather_pixels(
            clip.frames, clip.labels, clip.mask, clip.background,
            frame=index[chosen.slot], pixel=chosen.pixel,
        )  # fmt: skip
        row, column = np.divmod(chosen.pixel, clip.manifest.width)
        return RayBatch(
            frame_index=index,
            slot=torch.from_numpy(chosen.slot),
            pixels=torch.from_numpy(np.stack((column, row), axis=1).astype(np.float32) + 0.5),
            color=found.color,
            labels=found.label,
            mask=found.mask,
            background=found.background,
        )

    def _make_room(self, frames: int) -> None:
        """Forget what was read once it is much: nobody knows which frames come next."""
        maps = (self.clip.frames, self.clip.labels, self.clip.mask)
        self._mapped += frames * sum(array[0].nbytes for array in maps)
        if self._mapped > MAPPED_BYTES:
            self._mapped = 0
            for array in maps:
                release_pages(array)

    def _rectangles(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return x0, y0, x1, y1 around the faces of frames, px, end exclusive. Shape (slots, 4)."""
        size = {"width": self.clip.manifest.width, "height": self.clip.manifest.height}
        return np.array([face_rectangle(self.clip.landmarks[i], **size) for i in index])
