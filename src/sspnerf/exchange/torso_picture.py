"""The torso picture of RAD-NeRF's and ER-NeRF's layout: neck and torso alone, with alpha.

Their torso network learns these pictures, and the head is laid over them; so what lies under the
chin must be there too. As their script does, the neck's upper edge is drawn on upwards.
"""

import numpy as np
from numpy.typing import NDArray

from sspnerf.exchange.parts import Part

# How far the edge is drawn on, as a share of the picture's height (48 of 512 px in their script).
# From how far below the edge the color is taken, px of 512: the edge itself is mixed with the
# chin.
REACH = 0.1
BELOW_EDGE = 4 / 512
# Each row further up is a little darker, as it lies under the chin.
DARKEN = 0.98


def torso_picture(picture: NDArray[np.uint8], parts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut neck and torso out, continued under the head.

    Args:
        picture: RGB. Shape (height, width, 3).
        parts: `Part` values. Shape (height, width).

    Returns:
        RGBA, all 0 where nothing of the body is. Shape (height, width, 4).
    """
    height, width = parts.shape
    is_body = (parts == Part.NECK) | (parts == Part.TORSO)
    cut = np.zeros((height, width, 4), dtype=np.uint8)
    cut[is_body, :3] = picture[is_body]
    cut[is_body, 3] = 255
    # The uppermost pixel of the body in each column, if the head is above it.
    top = is_body.argmax(axis=0)
    columns = np.flatnonzero(is_body.any(axis=0) & (top > 0))
    columns = columns[parts[top[columns] - 1, columns] == Part.HEAD]
    below = np.minimum(top[columns] + max(1, round(BELOW_EDGE * height)), height - 1)
    below = np.where(is_body[below, columns], below, top[columns])
    color = picture[below, columns].astype(np.float64)
    for step in range(1, round(REACH * height) + 1):
        row = top[columns] - step
        is_under = (row >= 0) & (parts[np.maximum(row, 0), columns] == Part.HEAD)
        place = row[is_under], columns[is_under]
        cut[(*place, slice(0, 3))] = np.round(color[is_under] * DARKEN**step)
        cut[(*place, 3)] = 255
    return cut
