"""Which of MediaPipe's landmarks outline what: rings of indices from its own connection lists."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.perception.landmarks import mediapipe_vision

Ring = NDArray[np.int32]

# Single landmarks, by their numbers in MediaPipe's canonical face.
FOREHEAD, CHIN = 10, 152
RIGHT_SIDE, LEFT_SIDE = 234, 454
UPPER_INNER_LIP, LOWER_INNER_LIP = 13, 14


class FaceRegions(NamedTuple):
    """Outlines as rings of landmark indices, and the mesh's triangles."""

    oval: Ring
    eyes: tuple[Ring, ...]
    brows: tuple[Ring, ...]
    nose: Ring
    """The points of the nose, in no order; its outline is their convex hull."""
    outer_lip: Ring
    inner_lip: Ring
    triangles: NDArray[np.int32]
    """Of the mesh of 468 points. Shape (triangles, 3)."""


@cache
def face_regions() -> FaceRegions:
    """Read the outlines from MediaPipe."""
    lists = mediapipe_vision().FaceLandmarksConnections
    (oval,) = chains(_edges(lists.FACE_LANDMARKS_FACE_OVAL))
    eyes = [
        chains(_edges(edges))[0]
        for edges in (lists.FACE_LANDMARKS_LEFT_EYE, lists.FACE_LANDMARKS_RIGHT_EYE)
    ]
    brows = []
    for edges in (lists.FACE_LANDMARKS_LEFT_EYEBROW, lists.FACE_LANDMARKS_RIGHT_EYEBROW):
        lower, upper = chains(_edges(edges))
        brows.append(np.concatenate((lower, upper[::-1])))
    rings = chains(_edges(lists.FACE_LANDMARKS_LIPS))
    inner = next(ring for ring in rings if UPPER_INNER_LIP in ring)
    outer = next(ring for ring in rings if UPPER_INNER_LIP not in ring)
    return FaceRegions(
        oval=oval,
        eyes=tuple(eyes),
        brows=tuple(brows),
        nose=np.unique(_edges(lists.FACE_LANDMARKS_NOSE)).astype(np.int32),
        outer_lip=outer,
        inner_lip=inner,
        triangles=_triangles(lists.FACE_LANDMARKS_TESSELATION),
    )


def _edges(connections: Sequence[Any]) -> NDArray[np.int32]:
    return np.array([(edge.start, edge.end) for edge in connections], dtype=np.int32)


def _triangles(connections: Sequence[Any]) -> NDArray[np.int32]:
    """MediaPipe lists its mesh as edges, three in a row for each triangle."""
    return _edges(connections).reshape(-1, 3, 2)[:, :, 0].copy()


def chains(edges: NDArray[np.integer]) -> list[Ring]:
    """Join edges into chains of points, each in walking order; a closed chain is not repeated.

    Args:
        edges: Pairs of indices; no point has more than two. Shape (edges, 2).

    Returns:
        The chains in the order of their first edges.

    Example:
        >>> chains(np.array([(1, 2), (3, 1), (7, 8)]))
        [array([2, 1, 3], dtype=int32), array([7, 8], dtype=int32)]
    """
    neighbours: dict[int, list[int]] = {}
    for first, second in edges.tolist():
        neighbours.setdefault(first, []).append(second)
        neighbours.setdefault(second, []).append(first)
    found: list[Ring] = []
    for component in _components(neighbours):
        # An open chain is walked from one of its ends, a closed one from anywhere.
        start = next((point for point in component if len(neighbours[point]) == 1), component[0])
        found.append(np.array(_walk(neighbours, start), dtype=np.int32))
    return found


def _components(neighbours: dict[int, list[int]]) -> list[list[int]]:
    seen: set[int] = set()
    components = []
    for point in neighbours:
        if point not in seen:
            component = _walk_all(neighbours, point)
            seen.update(component)
            components.append(component)
    return components


def _walk_all(neighbours: dict[int, list[int]], start: int) -> list[int]:
    reached, waiting = [start], [start]
    while waiting:
        for point in neighbours[waiting.pop()]:
            if point not in reached:
                reached.append(point)
                waiting.append(point)
    return reached


def _walk(neighbours: dict[int, list[int]], start: int) -> list[int]:
    chain = [start]
    while True:
        onward = [point for point in neighbours[chain[-1]] if point not in chain]
        if not onward:
            return chain
        chain.append(onward[0])
