"""The pinhole camera, in pixels; without PyTorch, so that what needs no more starts fast."""

import math
from dataclasses import dataclass

# Vertical field of view that MediaPipe's face geometry assumes, degrees.
MEDIAPIPE_FIELD_OF_VIEW_DEG = 63.0


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """A pinhole camera in pixels."""

    fx: float
    """Focal length along x, px."""
    fy: float
    """Focal length along y, px."""
    cx: float
    """Principal point, px from the left edge."""
    cy: float
    """Principal point, px from the top edge."""
    width: int
    """Picture width, px."""
    height: int
    """Picture height, px."""

    @classmethod
    def from_field_of_view(
        cls, width: int, height: int, *, degrees: float = MEDIAPIPE_FIELD_OF_VIEW_DEG
    ) -> "Intrinsics":
        """Make a centred camera with square pixels from its vertical field of view.

        Example:
            >>> Intrinsics.from_field_of_view(100, 100, degrees=90.0).fx
            50.0
        """
        focal = round(height / (2 * math.tan(math.radians(degrees) / 2)), 9)
        return cls(fx=focal, fy=focal, cx=width / 2, cy=height / 2, width=width, height=height)

    def scaled(self, width: int, height: int) -> "Intrinsics":
        """Return the same camera for a picture resampled to another size.

        Example:
            >>> Intrinsics.from_field_of_view(100, 100).scaled(50, 50).cx
            25.0
        """
        sx, sy = width / self.width, height / self.height
        return Intrinsics(
            fx=self.fx * sx, fy=self.fy * sy, cx=self.cx * sx, cy=self.cy * sy,
            width=width, height=height,
        )  # fmt: skip

    def cropped(self, x0: float, y0: float, *, width: int, height: int) -> "Intrinsics":
        """Return the same camera for a window of its picture.

        Args:
            x0: Left edge of the window, px.
            y0: Top edge of the window, px.
            width: Width of the window, px.
            height: Height of the window, px.
        """
        return Intrinsics(
            fx=self.fx, fy=self.fy, cx=self.cx - x0, cy=self.cy - y0, width=width, height=height
        )
