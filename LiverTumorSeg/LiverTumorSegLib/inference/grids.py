"""Where a network's pixels lie in a CT's axial slice, and the way back to the slice's own pixels.

grid = SquareGrid(geometry, size_px=128)
native = grid.to_native(values)        # float32 (128, 128[, layers]) to (j, i[, layers])
grid_from_dict(grid.to_dict()) == grid
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
HALF = 0.5


class SliceGrid(Protocol):
    """The pixels of a network in an axial slice, the same in every slice of a CT."""

    @property
    def shape_ji(self) -> tuple[int, int]:
        """Shape of a slice in the network's pixels."""
        ...

    def to_native(self, values: Floats) -> Floats:
        """Values (J, I[, layers]) on the slice's own pixels (j, i[, layers]), linear between."""
        ...

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class SliceGeometry:
    """Where a slice lies on the square grid: pixels of the grid that it fills.

    shape_ji: the slice's own size. content_ji: its size on the grid. offset_ji: its first pixel.
    """

    shape_ji: tuple[int, int]
    content_ji: tuple[int, int]
    offset_ji: tuple[int, int]
    grid_px: int

    @property
    def is_whole_grid(self) -> bool:
        return self.shape_ji == self.content_ji == (self.grid_px, self.grid_px)

    def to_grid(
        self, image: NDArray[np.uint8], interpolation: int, fill: int = 0
    ) -> NDArray[np.uint8]:
        """Resize a slice to its content size and pad it to the square."""
        if self.is_whole_grid:
            return image
        height, width = self.content_ji
        if image.shape != self.content_ji:
            image = cast(
                "NDArray[np.uint8]", cv2.resize(image, (width, height), interpolation=interpolation)
            )
        square = np.full((self.grid_px, self.grid_px), fill, image.dtype)
        top, left = self.offset_ji
        square[top : top + height, left : left + width] = image
        return square

    def from_grid(self, square: Floats) -> Floats:
        """The inverse of :meth:`to_grid` for a (grid, grid[, classes]) image, linear."""
        top, left = self.offset_ji
        height, width = self.content_ji
        content = square[top : top + height, left : left + width]
        if content.shape[:2] == self.shape_ji:
            return content
        rows, columns = self.shape_ji
        resized = cv2.resize(
            np.ascontiguousarray(content), (columns, rows), interpolation=cv2.INTER_LINEAR
        )
        return cast(Floats, resized)


@dataclass(frozen=True)
class SquareGrid:
    """A square of ``size_px`` pixels a side that shows the whole slice, padded at its short side.

    geometry: how the slice lies on the square that it was resized from.
    """

    geometry: SliceGeometry
    size_px: int

    @property
    def shape_ji(self) -> tuple[int, int]:
        return self.size_px, self.size_px

    def to_native(self, values: Floats) -> Floats:
        side = (self.geometry.grid_px, self.geometry.grid_px)
        square = cv2.resize(values, side, interpolation=cv2.INTER_LINEAR)
        return self.geometry.from_grid(cast(Floats, square))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "square", **asdict(self)}


@dataclass(frozen=True)
class BoxGrid:
    """A box of the slice, resampled to other pixels.

    slice_ji: the slice's own size. resampled_ji: its size on the network's pixels. first_ji: the
    box's first pixel there. content_ji: how many pixels of the box lie in the slice. shape_ji: of
    the box, which may be padded behind its content.
    """

    slice_ji: tuple[int, int]
    resampled_ji: tuple[int, int]
    first_ji: tuple[int, int]
    content_ji: tuple[int, int]
    shape_ji: tuple[int, int]

    def from_native(self, values: NDArray[Any], interpolation: int) -> NDArray[Any]:
        """A slice (j, i) on the box's pixels, without its padding."""
        rows, columns = self.resampled_ji
        resized = cv2.resize(values, (columns, rows), interpolation=interpolation)
        (top, left), (height, width) = self.first_ji, self.content_ji
        return resized[top : top + height, left : left + width]

    def to_native(self, values: Floats) -> Floats:
        """Outside the box everything is 0."""
        (top, left), (height, width) = self.first_ji, self.content_ji
        whole = np.zeros((*self.resampled_ji, *values.shape[2:]), np.float32)
        whole[top : top + height, left : left + width] = values[:height, :width]
        rows, columns = self.slice_ji
        resized = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_LINEAR)
        return cast(Floats, resized)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "box", **asdict(self)}


def grid_from_dict(stored: Mapping[str, Any]) -> SliceGrid:
    """The inverse of both grids' ``to_dict``."""
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in stored.items()}
    if values.pop("kind") == "box":
        return BoxGrid(**values)
    geometry: dict[str, Any] = {
        n: tuple(v) if isinstance(v, list) else v for n, v in stored["geometry"].items()
    }
    return SquareGrid(SliceGeometry(**geometry), int(stored["size_px"]))


def mask_to_native(grid: SliceGrid, mask: Mask) -> Mask:
    """A mask (J, I) of a slice on the slice's own pixels (j, i), with smooth outlines."""
    native: Mask = grid.to_native(mask.astype(np.float32)) > HALF
    return native
