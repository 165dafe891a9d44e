"""Person mask and label maps of imported pictures: their parsing, refined by ours.

Their parsing decides who is person and where head, neck and torso meet; within the head, ours
decides (`prepare.parsing`). Without a parsing, the person is found by MediaPipe's network.

Uses of `prepare`: networks for person and hair, the skin's color, the parsing of a frame.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from sspnerf.data.semantics import HEAD_CLASSES, SemanticClass
from sspnerf.exchange.layout_folder import LayoutFolder
from sspnerf.exchange.parts import PART_CLASS, Part
from sspnerf.exchange.resample import resample_labels, resample_picture
from sspnerf.perception.models import model_path
from sspnerf.prepare.masks import (
    HairNetwork,
    PersonNetwork,
    hair_every,
    head_box,
    sharpen_silhouette,
    window_to_frame,
)
from sspnerf.prepare.parsing import clip_skin_color, parse_frame

# Their outline is hard; a real one is about so wide, px of 512.
EDGE_PX = 1.0
# What a pixel of their head may be that ours takes for neck or torso.
HEAD_SURROUNDINGS = (SemanticClass.SKIN, SemanticClass.EAR, SemanticClass.HAIR)


def write_masks(
    layout: LayoutFolder,
    frames: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    *,
    tick: Callable[[], None],
) -> None:
    """Fill the person masks in.

    Args:
        layout: With or without parsing.
        frames: RGB, square. Shape (frames, side, side, 3).
        mask: To be filled. Shape (frames, side, side).
        tick: Called after each frame.
    """
    network: PersonNetwork | None = None
    for index, img_id in enumerate(layout.ids):
        parts = layout.parts(img_id)
        if parts is not None:
            mask[index] = resample_picture(soft_mask(parts), mask.shape[1:])
        else:
            network = network or PersonNetwork(model_path("selfie_segmentation.tflite"))
            picture = np.asarray(frames[index])
            share = sharpen_silhouette(picture, network.probability(picture))
            mask[index] = np.round(255 * share)
        tick()


def soft_mask(parts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn their hard outline into a soft one that passes through the same places.

    Args:
        parts: `Part` values. Shape (height, width).

    Returns:
        255 = certainly person. Shape (height, width).
    """
    person = (parts != Part.BACKGROUND).astype(np.float32)
    soft = gaussian_filter(person, EDGE_PX * parts.shape[0] / 512, mode="nearest")
    return np.asarray(np.round(255 * soft), dtype=np.uint8)


def write_labels(
    layout: LayoutFolder,
    frames: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    seen: NDArray[np.bool_],
    labels: NDArray[np.uint8],
    *,
    frame_rate_hz: float,
    tick: Callable[[], None],
) -> None:
    """Fill the label maps in.

    Args:
        layout: With or without parsing.
        frames: RGB, square. Shape (frames, side, side, 3).
        mask: 255 = certainly person. Shape (frames, side, side).
        landmarks: px of the frames. Shape (frames, 478, 3).
        seen: Where the landmarks are no guess. Shape (frames,).
        labels: To be filled. Shape (frames, side, side).
        frame_rate_hz: Of the clip.
        tick: Called after each frame.
    """
    skin = clip_skin_color(frames, landmarks, seen)
    network = HairNetwork(model_path("hair_segmentation.tflite"))
    every, side = hair_every(frame_rate_hz), frames.shape[1]
    for index, img_id in enumerate(layout.ids):
        box = head_box(landmarks[index])
        if index % every == 0:
            looked_at = layout.picture(img_id)
            hair = network.probability(looked_at, box * (looked_at.shape[0] / side))
        found = parse_frame(
            np.asarray(frames[index]),
            landmarks[index],
            person=mask[index].astype(np.float32) / np.float32(255),
            hair=window_to_frame(hair, box, side),
            skin=skin,
        )
        parts = layout.parts(img_id)
        labels[index] = found if parts is None else obey_parts(found, parts)
        tick()


def obey_parts(labels: NDArray[np.uint8], parts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Let their parsing decide between head, neck and torso.

    Args:
        labels: `SemanticClass` values. Shape (side, side).
        parts: `Part` values, any size. Shape (height, width).

    Returns:
        The labels; where they do not agree with a part, its class, and for the head what lies
        nearest of skin, ear and hair. Background stays as it is. Shape (side, side).
    """
    part = resample_labels(parts, labels.shape)
    is_person = labels != SemanticClass.BACKGROUND
    obeyed = labels.copy()
    is_head = (part == Part.HEAD) & is_person
    is_wrong = is_head & ~np.isin(labels, HEAD_CLASSES)
    around = is_head & np.isin(labels, HEAD_SURROUNDINGS)
    if is_wrong.any():
        obeyed[is_wrong] = PART_CLASS[Part.HEAD]
        if around.any():
            row, column = distance_transform_edt(
                ~around, return_distances=False, return_indices=True
            )
            obeyed[is_wrong] = labels[row[is_wrong], column[is_wrong]]
    for body in (Part.NECK, Part.TORSO):
        obeyed[(part == body) & is_person] = PART_CLASS[body]
    return obeyed
