"""Align one picture of the torso to a template: rigid motion of a curved surface, robust by blocks.

Symbols: X = a point of the torso's front in camera space of the reference frame, cm; c = the middle
of it; theta = (rotation vector r, translation t), which takes it to camera space of frame i:
p_i = R(r) (X - c) + c + t. W(u) = where p_i appears in frame i for the X seen at pixel u of the
reference frame. A template T is a picture of the torso in the reference frame's pixels, so
T(u) = I_i(W(u)) where both show the same cloth.

Minimises  sum_b w_b |I_i(W) - T|^2_b / s^2  +  |theta / a|^2  by Gauss-Newton over blocks b of
8 x 8 pixels. A block that does not fit (a hand, hair, a microphone) loses its say w_b; an edge
speaks for its own direction only, because each block counts with its own normal matrix; what no
block tells (often the turn) stays near 0, within the usual size a.
"""

from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.masks import fit

Picture = NDArray[np.float32]
AnyFloat = TypeVar("AnyFloat", np.float32, np.float64)

# Alignment happens at this size, whatever the clip's, and first at half of it.
WORK_SIDE = 256
LEVELS = (WORK_SIDE // 2, WORK_SIDE)
ITERATIONS = (6, 4)
BLOCK = 8
# Shading changes as a torso moves, over distances larger than this: not looked at. px.
SHADING_PX = 8.0
# A block belongs to the torso if so much of it does.
LEAST_BLOCK = 0.5
MOST_BLOCKS = 160
# The front of a torso: a parabola across that falls back by 6 cm at the shoulders, 20 cm from the
# middle, and not much further.
CURVE_CM, HALF_WIDTH_CM, MOST_CURVE_CM = 6.0, 20.0, 9.0
MEAN_CURVE = 1 / 3
# Usual turns (radians: pitch, yaw, roll) and shifts (shares of the depth) from the reference.
# Pitch is as good as held: on held-out blocks of real clips it explains nothing that yaw, roll and
# the shifts do not, and it shakes.
USUAL = np.array([0.003, 0.06, 0.12, 0.3, 0.3, 0.06])
# Blocks whose error is larger than so many times the usual one lose their say.
OUTLIER_FACTOR = 2.0
# The usual error is one that this share of the torso stays below: half of it may be covered.
USUAL_SHARE = 0.2
# The least error that a block has, gray levels of 255; and pixels whose errors go together (all of
# a block: what is wrong there is the model).
LEAST_NOISE, PIXELS_PER_FACT = 1.5, 64.0
# A torso is not quite rigid: cloth strays by this, px. So the error of a block grows with its
# contrast, and a few glaring edges do not say everything.
STRAY_PX = 0.1
# A step that moves the picture less than this, px, is the last.
ENOUGH_PX = 0.03
# A block is found again if it correlates so well; halves of a torso that disagree by this much
# about its place (px of 256) halve the confidence.
LEAST_CORRELATION, USUAL_SPREAD_PX = 0.7, 0.7
# Halves are the two colors of a checkerboard of so many blocks.
CHECKER_BLOCKS = 3
# A template whose blocks all together tell less than this is plain.
LEAST_INFORMATION = 10.0
OUTSIDE = 1e4


class TorsoSurface(NamedTuple):
    """A guess of the torso's front in the reference frame, good for small motions."""

    intrinsics: Intrinsics
    """Of the picture, any size."""
    center: NDArray[np.float64]
    """Its middle, c: around it the torso turns, in camera space, cm. Shape (3,)."""

    @classmethod
    def from_region(
        cls, region: NDArray[np.bool_], intrinsics: Intrinsics, *, depth: float
    ) -> "TorsoSurface":
        """Place it at the middle of a region.

        Args:
            region: Where the reference frame shows torso, not empty. Shape (height, width).
            intrinsics: Of that picture.
            depth: Of the chest in front of the camera, cm.
        """
        rows, columns = np.nonzero(region)
        middle = np.array([[columns.mean() + 0.5, rows.mean() + 0.5]])
        return cls(intrinsics, _rays(intrinsics, middle)[0] * depth)

    def lift(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Find the points seen at pixels of the reference frame.

        Args:
            pixels: px. Shape (points, 2).

        Returns:
            Camera space, cm. Shape (points, 3).
        """
        rays = _rays(self.intrinsics, pixels)
        across = (rays[:, 0] * self.center[2] - self.center[0]) / HALF_WIDTH_CM
        behind = np.minimum(CURVE_CM * (across**2 - MEAN_CURVE), MOST_CURVE_CM)
        depth = self.center[2] + behind
        return np.asarray(rays * depth[:, None])

    def move(self, points: NDArray[AnyFloat], theta: NDArray[np.float64]) -> NDArray[AnyFloat]:
        """Move points and find where they appear.

        Args:
            points: Camera space of the reference frame, cm. Shape (points, 3).
            theta: Rotation vector, radians, and translation, cm. Shape (6,).

        Returns:
            px. Shape (points, 2).
        """
        turn = Rotation.from_rotvec(theta[:3]).as_matrix()
        # K (R (X - c) + c + t) in one product, in the precision of the points.
        view = self.intrinsics
        camera = np.array([[view.fx, 0, view.cx], [0, view.fy, view.cy], [0, 0, 1]])
        matrix = (camera @ turn).astype(points.dtype)
        offset = (camera @ (self.center + theta[3:] - turn @ self.center)).astype(points.dtype)
        seen = matrix @ points.T
        seen += offset[:, None]
        return np.asarray((seen[:2] / seen[2]).T)

    def derivatives(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Tell how the picture of each point moves with theta, at rest. Shape (points, 2, 6)."""
        view, arms = self.intrinsics, points - self.center
        depth = points[:, 2, None]
        slope = points[:, :2] / depth
        found = np.empty((len(points), 2, 6))
        for axis, direction in enumerate(np.eye(3)):
            for index, velocity in (
                (axis, np.cross(direction, arms)),
                (axis + 3, np.broadcast_to(direction, arms.shape)),
            ):
                found[:, :, index] = (velocity[:, :2] - slope * velocity[:, 2:]) / depth
        return np.asarray(found * np.array([[view.fx], [view.fy]]))


def _rays(view: Intrinsics, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    slope = (pixels - (view.cx, view.cy)) / (view.fx, view.fy)
    return np.concatenate((slope, np.ones((len(pixels), 1))), axis=1)


def look(
    picture: NDArray[np.uint8],
    mask: NDArray[np.uint8] | None = None,
    *,
    behind: float = 128.0,
) -> list[Picture]:
    """Make what is aligned of a picture: gray without broad shading, one picture per level.

    Args:
        picture: RGB, square. Shape (side, side, 3).
        mask: How much of each pixel is person, of 255; what is behind becomes plain, so that the
            outline speaks for the person alone. Shape (side, side).
        behind: Gray of the plain, of 255.
    """
    gray = cv2.cvtColor(fit(np.asarray(picture), WORK_SIDE), cv2.COLOR_RGB2GRAY).astype(np.float32)
    if mask is not None:
        share = fit(np.asarray(mask), WORK_SIDE).astype(np.float32) * np.float32(1 / 255)
        gray = (gray - np.float32(behind)) * share + np.float32(behind)
    levels = []
    for side in LEVELS:
        level = cv2.GaussianBlur(fit(gray, side), (0, 0), 0.8)
        shading = cv2.blur(level, (int(4 * SHADING_PX) + 1,) * 2)
        levels.append(np.asarray(level - shading))
    return levels


class Alignment(NamedTuple):
    """How a frame fits a template."""

    theta: NDArray[np.float64]
    """Rotation vector, radians, and translation, cm. Shape (6,)."""
    correlation: float
    """Of the blocks that have a say, in [0, 1]."""
    agreement: float
    """Share of the template's texture that is found again, in [0, 1]."""
    spread_px: float
    """By how much halves of the torso disagree about its place, of 256 px."""

    @property
    def confidence(self) -> float:
        """How far to believe it, in [0, 1]: the share found again, less where halves disagree."""
        return self.agreement / (1 + (self.spread_px / USUAL_SPREAD_PX) ** 2)


class _Level:
    """One level of a template: blocks, their gradients and normal matrices."""

    def __init__(self, picture: Picture, region: NDArray[np.uint8], surface: TorsoSurface) -> None:
        side = picture.shape[0]
        self.surface = surface._replace(intrinsics=surface.intrinsics.scaled(side, side))
        reduced = cv2.resize(region, (side, side), interpolation=cv2.INTER_NEAREST)
        inside = reduced > 0
        blocks = inside.reshape(side // BLOCK, BLOCK, side // BLOCK, BLOCK).swapaxes(1, 2)
        chosen = np.argwhere(blocks.mean(axis=(2, 3)) >= LEAST_BLOCK)
        chosen = _most_telling(picture, chosen)
        self.parity = (chosen // CHECKER_BLOCKS).sum(axis=1) % 2
        offsets = np.stack(np.meshgrid(range(BLOCK), range(BLOCK), indexing="ij"), -1)
        at = (chosen[:, None] * BLOCK + offsets.reshape(1, -1, 2)).reshape(-1, 2)
        self.at = (at[:, 0], at[:, 1])
        pixels = at[:, ::-1] + 0.5
        points = self.surface.lift(pixels)
        # Coordinates one after the other: half the time.
        self.points = np.asfortranarray(points.astype(np.float32))
        self.shape = (len(chosen), BLOCK * BLOCK)
        self.mask = inside[self.at].reshape(self.shape).astype(np.float32)
        say = np.where(inside, reduced, 255)[self.at].reshape(self.shape)
        self.say = say.min(axis=1).astype(np.float64) / 255
        motion = self.surface.derivatives(points)
        # How far each parameter moves the torso, px: for steps and spreads.
        self.reach = motion[:: BLOCK * BLOCK // 2].reshape(-1, 6)
        self.values = picture[self.at].reshape(self.shape)
        slopes = [cv2.Sobel(picture, cv2.CV_32F, dx, 1 - dx, scale=1 / 8)[self.at] for dx in (1, 0)]
        self.count = np.maximum(self.mask.sum(axis=1), 1)
        energy = sum(slope**2 for slope in slopes).reshape(self.shape) * self.mask
        contrast = energy.sum(axis=1) / self.count
        # From gray levels to usual errors.
        self.gain = 1 / np.sqrt(LEAST_NOISE**2 + STRAY_PX**2 * contrast)
        self.information = contrast * self.gain**2 * self.count * self.say + 1e-9
        steepest = np.einsum("pa,pak->pk", np.stack(slopes, 1), motion).astype(np.float32)
        whitened = self.mask * self.gain[:, None]
        self.steepest = steepest.reshape(*self.shape, 6) * whitened[..., None]
        self.normal = np.einsum("bpk,bpl->bkl", self.steepest, self.steepest).astype(np.float64)
        self.texture = np.einsum("bp,bp->b", self.mask, self.values**2)

    def sample(self, picture: Picture, theta: NDArray[np.float64]) -> NDArray[np.float32]:
        """Look up the blocks in a picture. Shape (blocks, pixels)."""
        places = self.surface.move(self.points, theta).T - np.float32(0.5)
        x, y = places.reshape(2, *self.shape)
        return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderValue=OUTSIDE))


def _most_telling(picture: Picture, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keep the blocks with the most contrast, so that large torsos do not cost more."""
    at = blocks * BLOCK
    contrast = [picture[row : row + BLOCK, column : column + BLOCK].std() for row, column in at]
    kept = np.argsort(contrast)[::-1][:MOST_BLOCKS]
    return blocks[np.sort(kept)]


class _Fit(NamedTuple):
    """Blocks at one theta."""

    seen: NDArray[np.float32]
    weights: NDArray[np.float64]
    slope: NDArray[np.float64]
    noise: float


class Template:
    """A picture of the torso to which frames are aligned.

    Args:
        levels: From `look`, in the reference frame's pixels.
        region: How much each pixel says about the torso, of 255. Shape (side, side).
        surface: Where the torso is.
    """

    def __init__(
        self, levels: list[Picture], region: NDArray[np.uint8], surface: TorsoSurface
    ) -> None:
        self._levels = [_Level(level, region, surface) for level in levels]
        self.picture = levels[0]
        self.region, self.surface = region, surface
        self._usual = USUAL * np.array([1, 1, 1, *[surface.center[2]] * 3])

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to align."""
        return not all(
            level.shape[0] and level.information.sum() > LEAST_INFORMATION for level in self._levels
        )

    def align(self, levels: list[Picture], start: NDArray[np.float64]) -> Alignment:
        """Find the motion that takes the template to a picture.

        Args:
            levels: From `look`.
            start: Where to begin. Shape (6,).
        """
        theta = start
        for level, picture, steps in zip(self._levels, levels, ITERATIONS, strict=True):
            for _ in range(steps):
                step = self._step(level, _weigh(level, picture, theta), theta)
                theta = theta - step
                if np.sqrt(np.mean((level.reach @ step) ** 2)) < ENOUGH_PX:
                    break
        return self._judge(self._levels[-1], _weigh(self._levels[-1], levels[-1], theta), theta)

    def _step(
        self,
        level: _Level,
        now: _Fit,
        theta: NDArray[np.float64],
        *,
        chosen: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float64]:
        weights = now.weights if chosen is None else now.weights * chosen
        scale = 1 / (now.noise**2 * PIXELS_PER_FACT)
        prior = 1 / self._usual**2
        normal = np.tensordot(weights, level.normal, 1) * scale + np.diag(prior)
        return np.linalg.solve(normal, (weights @ now.slope) * scale + prior * theta)

    def _judge(self, level: _Level, now: _Fit, theta: NDArray[np.float64]) -> Alignment:
        cross = (level.mask * now.seen * level.values).sum(axis=1)
        square = (level.mask * now.seen**2).sum(axis=1)
        # Noise alone must not look like texture that is missing.
        size = np.sqrt(square * level.texture) + level.count * LEAST_NOISE**2
        found = cross >= LEAST_CORRELATION * size
        sums = [now.weights @ values for values in (cross, square, level.texture)]
        halves = [
            self._step(level, now, theta, chosen=level.parity == parity)[3:5] for parity in (0, 1)
        ]
        shift_px = (halves[0] - halves[1]) / 2 / level.surface.center[2]
        return Alignment(
            theta=theta,
            correlation=max(0.0, float(sums[0] / np.sqrt(sums[1] * sums[2] + 1e-9))),
            agreement=float((found * level.information).sum() / level.information.sum()),
            spread_px=float(np.linalg.norm(shift_px)) * level.surface.intrinsics.fx,
        )


def _weigh(level: _Level, picture: Picture, theta: NDArray[np.float64]) -> _Fit:
    seen = level.sample(picture, theta)
    error = (seen - level.values) * (level.mask * level.gain[:, None])
    rms = np.sqrt((error**2).sum(axis=1) / level.count).astype(np.float64)
    noise = max(1.0, _quantile(rms, np.sqrt(level.information)))
    weights = level.say / (1 + (rms / (OUTLIER_FACTOR * noise)) ** 2) ** 2
    slope = np.matmul(error[:, None], level.steepest)[:, 0].astype(np.float64)
    return _Fit(seen, weights, slope, noise)


def _quantile(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, USUAL_SHARE * total[-1])])
