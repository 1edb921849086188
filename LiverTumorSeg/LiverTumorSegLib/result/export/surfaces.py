"""Closed surfaces of liver and lesions as STL and OBJ files, in LPS millimeters.

    write_surfaces(folder, case, ["stl"])     # liver.stl, tumor-1.stl, tumor-2.stl, ...

The liver's surface encloses its tumors. Marching cubes (scikit-image) draws the outline halfway
between voxels; Taubin's smoothing (1995) then takes out the steps without shrinking it. Corners of
voxels are cut: a lesion of a few voxels encloses less than its measured volume, which is in the
table.
"""

# mypy: allow-untyped-calls
# (scikit-image's functions carry no types)

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib import __version__
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import LPS_SIGNS, bounding_box

from .segments import Segment, SegmentedCase

Points = NDArray[np.float64]
Triangles = NDArray[np.intp]

ABOUT = f"SPACE=LPS; mm; LiverTumorSeg {__version__}; for research only, not for diagnosis"
HEADER_BYTES = 80  # of an STL file; Slicer looks there for SPACE
ROUNDS = 10
INWARD, OUTWARD = 0.5, -0.53  # Taubin's lambda and mu, for a pass band of about 0.1


def write_surfaces(folder: Path, case: SegmentedCase, endings: Sequence[str]) -> None:
    """A file a segment and ending, ``stl`` or ``obj``, into a new folder."""
    folder.mkdir()
    for segment in case.segments:
        points, triangles = surface(_mask(segment, case), case.ijk_to_ras)
        name = segment.name.lower().replace(" ", "-")
        for ending in endings:
            data = WRITERS[ending](points, triangles)
            (folder / f"{name}.{ending}").write_bytes(data)


def surface(
    mask_kji: NDArray[np.bool_], ijk_to_ras: NDArray[np.float64]
) -> tuple[Points, Triangles]:
    """Points ``(n, 3)`` in LPS mm and triangles ``(m, 3)`` of their indices, seen from outside
    counterclockwise, of a mask that holds something."""
    from skimage.measure import marching_cubes

    box = bounding_box(mask_kji)
    assert box is not None
    inside = np.pad(mask_kji[box].astype(np.float32), 1)
    kji, triangles, _, _ = marching_cubes(inside, 0.5, allow_degenerate=False)
    kji = kji - 1.0 + [side.start for side in box]
    ras = kji[:, ::-1] @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]
    points = _smoothed(ras * LPS_SIGNS, triangles)
    if enclosed_mm3(points, triangles) < 0:
        triangles = triangles[:, ::-1]
    return points, triangles.astype(np.intp)


def enclosed_mm3(points: Points, triangles: Triangles) -> float:
    """The volume inside; negative where the triangles turn the other way round."""
    a, b, c = (points[triangles[:, n]] for n in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def _smoothed(points: Points, triangles: Triangles) -> Points:
    """Each point toward the mean of its neighbors, and a little more back."""
    from scipy import sparse

    count = len(points)
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    links: Any = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    links.data[:] = 1.0
    share = 1.0 / np.maximum(links.sum(axis=1), 1.0)
    for _ in range(ROUNDS):
        for step in (INWARD, OUTWARD):
            points = points + step * (np.asarray(share) * (links @ points) - points)
    return points


def _mask(segment: Segment, case: SegmentedCase) -> NDArray[np.bool_]:
    if segment.label is Label.LIVER:
        return np.asarray(case.values_kji > 0)
    return np.asarray(case.values_kji == segment.number)


def _stl(points: Points, triangles: Triangles) -> bytes:
    """Binary STL."""
    corners = points[triangles].astype("<f4")  # (m, corner, axis)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    facets = np.zeros(
        len(triangles), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("unused", "<u2")]
    )
    facets["normal"] = normals / np.maximum(lengths, np.float32(1e-30))
    facets["corners"] = corners
    head = ABOUT.encode().ljust(HEADER_BYTES)[:HEADER_BYTES]
    return head + np.uint32(len(triangles)).tobytes() + facets.tobytes()


def _obj(points: Points, triangles: Triangles) -> bytes:
    """Wavefront OBJ, whose indices begin at 1."""
    lines = [f"# {ABOUT}"]
    lines += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in points.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (triangles + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


WRITERS = {"stl": _stl, "obj": _obj}
