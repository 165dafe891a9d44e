"""A folder in AD-NeRF's layout, opened for reading: which pictures there are, and the rest.

transforms_train.json, transforms_val.json   `transforms`
ori_imgs/ID.jpg or gt_imgs/, com_imgs/       the pictures; .png too
parsing/ID.png                               `parts`; may be absent
bc.jpg or bc.png                             behind the person; may be absent
aud.wav, aud*.npy, au.csv                    `recorded`; may be absent
torso_imgs/, head_imgs/, *.lms, track_params.pt   not read
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sspnerf.errors import MediaError
from sspnerf.exchange.parts import Part, read_parts
from sspnerf.exchange.transforms import PosedPicture, Transforms, Warn, read_transforms
from sspnerf.geometry.intrinsics import Intrinsics

PICTURE_FOLDERS = ("ori_imgs", "gt_imgs", "com_imgs")
SUFFIXES = (".jpg", ".png", ".jpeg")
# The principal point of their tracker is the picture's middle: further off, as a share of the
# side, the pictures are not the ones that were tracked.
MOST_OFF_CENTER = 0.1
# Frames that no entry names, per frame that one does; more of them are no few lost faces.
MOST_UNNAMED = 1.0


@dataclass(frozen=True)
class LayoutFolder:
    """What `open_layout` found; nothing but the pictures' headers has been read."""

    path: Path
    transforms: Transforms
    pictures: Path
    """The folder with the pictures."""
    ids: range
    """img_id of every frame of the clip, gaps included."""
    width: int
    """Of all pictures, px."""
    height: int

    @cached_property
    def named(self) -> dict[int, PosedPicture]:
        """Entries of the transforms by img_id."""
        return {picture.img_id: picture for picture in self.transforms.pictures}

    @property
    def intrinsics(self) -> Intrinsics:
        """The camera of the pictures."""
        told = self.transforms
        return Intrinsics(
            fx=told.focal, fy=told.focal, cx=told.cx, cy=told.cy,
            width=self.width, height=self.height,
        )  # fmt: skip

    def picture(self, img_id: int) -> NDArray[np.uint8]:
        """Read a picture; where there is none, the last one before it.

        Returns:
            RGB. Shape (height, width, 3).
        """
        for earlier in range(img_id, self.ids.start - 1, -1):
            if (path := find_picture(self.pictures, earlier)) is not None:
                return read_picture(path)
        raise MediaError(
            f"{self.pictures} has no picture {self.ids.start}", "extract the pictures again"
        )

    def parts(self, img_id: int) -> NDArray[np.uint8] | None:
        """Read a picture's parsing; where there is none, the last one before it.

        Returns:
            `Part` values, shape (height, width); None if the layout has no parsing.

        Raises:
            MediaError: If it is of another size or shows other colors.
        """
        if self._first_parsed is None:
            return None
        while (path := find_picture(self.path / "parsing", img_id)) is None:
            img_id = img_id - 1 if img_id > self.ids.start else self._first_parsed
        parts = read_parts(path)
        if parts.shape != (self.height, self.width):
            raise MediaError(
                f"{path} is {parts.shape[1]} x {parts.shape[0]} px; expected {self.width} x "
                f"{self.height} as the pictures are",
                "parse the pictures again, or remove the folder `parsing`",
            )
        if not (parts != Part.BACKGROUND).any():
            raise MediaError(f"{path} shows no person", "parse that picture again")
        return parts

    @cached_property
    def _first_parsed(self) -> int | None:
        return next((i for i in self.ids if find_picture(self.path / "parsing", i)), None)

    def background(self) -> NDArray[np.uint8] | None:
        """Read the picture behind the person.

        Returns:
            RGB. Shape (height, width, 3); None if there is none.

        Raises:
            MediaError: If it is of another size.
        """
        path = next((p for s in SUFFIXES if (p := self.path / f"bc{s}").is_file()), None)
        if path is None:
            return None
        picture = read_picture(path)
        if picture.shape[:2] != (self.height, self.width):
            raise MediaError(
                f"{path} is {picture.shape[1]} x {picture.shape[0]} px; expected {self.width} x "
                f"{self.height} as the pictures are",
                "make it again, or remove it: it is then made from the pictures",
            )
        return picture


def open_layout(path: Path, warn: Warn, *, frames: int | None = None) -> LayoutFolder:
    """Open a folder and check that what a clip needs is there.

    Necessary are transforms_train.json and a picture for each of its entries.

    Args:
        path: The folder.
        warn: Called with one line for each thing that is not as it should be.
        frames: How many the clip has, counted from picture 0, where that is known; else they go
            from the first to the last entry.

    Raises:
        MediaError: If something necessary is missing, broken or contradicts something else.
    """
    transforms = read_transforms(path, warn)
    entries = transforms.pictures
    ids = range(entries[0].img_id, entries[-1].img_id + 1) if frames is None else range(frames)
    _check_order(path, entries, warn)
    unnamed = len(ids) - len(entries)
    if frames is None and unnamed > MOST_UNNAMED * len(entries) + 1:
        raise MediaError(
            f"{path}: the transforms name {len(entries)} pictures spread over {len(ids)} frames",
            "give a layout of one take with few frames left out",
        )
    if unnamed:
        warn(f"{unnamed} of {len(ids)} frames have no transform_matrix; interpolated there")
    folder = _picture_folder(path, warn)
    for entry in entries:
        if find_picture(folder, entry.img_id) is None:
            raise MediaError(
                f"{path} names picture {entry.img_id}, and {folder.name} has none of that name",
                "extract the pictures again, or remove its entry from the transforms",
            )
    width, height = _common_size(folder, ids)
    _check_camera(path, transforms, width=width, height=height)
    return LayoutFolder(path, transforms, folder, ids, width, height)


def find_picture(folder: Path, img_id: int) -> Path | None:
    """Return the file of a picture, if there is one."""
    return next((p for s in SUFFIXES if (p := folder / f"{img_id}{s}").is_file()), None)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture file.

    Returns:
        RGB. Shape (height, width, 3).

    Raises:
        MediaError: If it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error}", "extract it again") from error


def _picture_folder(path: Path, warn: Warn) -> Path:
    for name in PICTURE_FOLDERS:
        if (path / name).is_dir():
            if name != PICTURE_FOLDERS[0]:
                warn(f"{path} has no {PICTURE_FOLDERS[0]}; {name} are used, with bc pasted in")
            return path / name
    part_folders = [name for name in ("torso_imgs", "head_imgs") if (path / name).is_dir()]
    also = f"; {' and '.join(part_folders)} show parts of the person only" if part_folders else ""
    raise MediaError(
        f"{path} has none of {', '.join(PICTURE_FOLDERS)}{also}", "extract the pictures again"
    )


def _check_order(path: Path, entries: list[PosedPicture], warn: Callable[[str], None]) -> None:
    held_out = [entry.is_held_out for entry in entries]
    if held_out != sorted(held_out):
        warn(
            f"{path}: held-out frames lie between frames for training; a clip keeps the order of "
            "the video, and its last eleventh is held out"
        )


def _common_size(folder: Path, ids: range) -> tuple[int, int]:
    size: tuple[int, int] | None = None
    for path in filter(None, (find_picture(folder, img_id) for img_id in ids)):
        try:
            with Image.open(path) as image:
                found = image.size
        except OSError as error:
            raise MediaError(f"{path} cannot be read: {error}", "extract it again") from error
        size = size or found
        if found != size:
            raise MediaError(
                f"{path} is {found[0]} x {found[1]} px and others are {size[0]} x {size[1]}",
                "extract the pictures again, all of one size",
            )
    assert size is not None, "every entry has a picture"  # noqa: S101
    return size


def _check_camera(path: Path, transforms: Transforms, *, width: int, height: int) -> None:
    told = transforms.size or (round(2 * transforms.cx), round(2 * transforms.cy))
    slack = 0 if transforms.size else MOST_OFF_CENTER * max(width, height)
    if abs(told[0] - width) > slack or abs(told[1] - height) > slack:
        raise MediaError(
            f"{path}: the transforms are for pictures of {told[0]} x {told[1]} px, and the "
            f"pictures are {width} x {height}",
            "give the pictures that were tracked",
        )
