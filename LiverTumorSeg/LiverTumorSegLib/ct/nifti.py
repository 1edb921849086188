"""CT and labels from and to NIfTI files, refusing early what is no CT.

    ct, warnings = read_ct("ct.nii.gz")
    write_labels("seg.nii.gz", labels, like=ct)

Arrays here are ``(k, j, i)``. A NIfTI file stores i fastest, so its planes are read straight into
``array[k]``, one at a time: no float copy of the whole volume ever exists. Affines take voxel
``(i, j, k)`` to RAS millimeters, as the format itself does. Sentences name a file, never its
folders (they may name a patient), and quote nothing of its header.
"""

# mypy: allow-untyped-calls
# (nibabel's methods carry no types)

from __future__ import annotations

import errno
import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.files import whole_file
from LiverTumorSegLib.volume import CtVolume

from .checks import (
    INT16_RANGE,
    NO_ORIENTATION,
    check_ct,
    check_geometry,
    refuse_colors,
    refuse_huge,
    refuse_one_slice,
    refuse_wrong_shape,
)

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

Affine = NDArray[np.float64]
MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIfTI codes: meter, millimeter, micrometer
DEFLATE_AT_MOST = 1032  # bytes out of one byte in
FLAT = 1e-3  # determinant of the axes' directions; CtVolume refuses less
FORMS_DIFFER, SPACINGS_DIFFER = 1.0, 0.02  # of a voxel; relative
LABEL_ROUNDING = 0.01  # a slope of 1/255, say, leaves fractions
SCANNER = 1  # qform and sform code
DESCRIPTION_BYTES = 79
LABEL_IN_TABLE = re.compile(r'<Label Key="(\d+)"[^>]*>(?:<!\[CDATA\[)?([^<\]]+)')
LONGEST_TABLE_BYTES = 2**20


def read_ct(path: str | Path) -> tuple[CtVolume, tuple[str, ...]]:
    """The scan in a .nii or .nii.gz file, and warnings of one sentence each.

    Hounsfield units are rounded to whole numbers and clipped to int16.
    Raises ``ValueError``, one sentence with the file's name and what to do, for anything that
    cannot be read or cannot be a CT.
    """
    with _opened(Path(path)) as file:
        grid = _read_grid(_shown_name(path), file)
        refuse_one_slice(grid.name, grid.shape_kji)
        hu, low, high = whole_hu(grid.name, grid.shape_kji, _planes(file, grid))
    ct = CtVolume(hu, grid.ijk_to_ras)
    return ct, grid.warnings + check_ct(grid.name, ct, low, high)


def whole_hu(
    name: str, shape_kji: tuple[int, int, int], planes: Iterable[NDArray[np.float64]]
) -> tuple[NDArray[np.int16], float, float]:
    """Rounded and clipped int16 ``(k, j, i)`` of planes, and the least and greatest before that.

    ``ValueError`` for numbers that are not finite. No float copy of the whole ever exists.
    """
    hu = np.empty(shape_kji, dtype=np.int16)
    low, high = np.inf, -np.inf
    for k, plane in enumerate(planes):
        if not np.isfinite(plane).all():
            raise ValueError(
                f"{name} holds values that are no finite numbers (NaN or infinite); "
                "replace them, by -1024 outside the body for example."
            )
        low, high = min(low, float(plane.min())), max(high, float(plane.max()))
        hu[k] = np.rint(np.clip(plane, *INT16_RANGE))
    return hu, low, high


def read_labels(path: str | Path) -> tuple[NDArray[np.uint8], Affine]:
    """Label numbers uint8 ``(k, j, i)`` and their 4 x 4 ijk_to_ras in mm; all zero is allowed.

    NaN is background. A slope and intercept count, unless they make no labels of stored numbers
    that are some: programs leave those of the CT in the header.
    Raises ``ValueError`` for unreadable files and for values that are not whole numbers 0 to 255.
    """
    with _opened(Path(path)) as file:
        grid = _read_grid(_shown_name(path), file)
        labels = np.empty(grid.shape_kji, dtype=np.uint8)
        stored = np.empty_like(labels) if (grid.slope, grid.inter) != (1.0, 0.0) else None
        are_labels, are_stored = True, stored is not None
        for k, plane in enumerate(_planes(file, grid)):
            plane[np.isnan(plane)] = 0
            are_labels = are_labels and _fills_labels(labels[k], plane)
            if stored is not None and are_stored:
                are_stored = _fills_labels(stored[k], (plane - grid.inter) / grid.slope)
            if not are_labels and not are_stored:
                raise ValueError(
                    f"{grid.name} holds values that are no labels (whole numbers from 0 to 255); "
                    "give a label map."
                )
    return labels if are_labels or stored is None else stored, grid.ijk_to_ras


def read_label_table(path: str | Path) -> dict[int, str]:
    """The names of labels that a header's extension holds (Caret's table of labels, which
    TotalSegmentator and Connectome Workbench write); empty without one."""
    import nibabel

    found = dict[int, str]()
    header: Any = nibabel.load(Path(path)).header
    for extension in header.extensions:
        content = extension.get_content()
        if isinstance(content, bytes) and b"<CaretExtension>" in content[:200]:
            text = content[:LONGEST_TABLE_BYTES].decode("utf-8", "replace")
            found.update({int(m[1]): m[2].strip() for m in LABEL_IN_TABLE.finditer(text)})
    return found


def read_geometry(path: str | Path) -> tuple[tuple[int, int, int], Affine]:
    """Voxels along k, j, i and the 4 x 4 ijk_to_ras in mm that a header gives; no voxel is read."""
    with _opened(Path(path)) as file:
        grid = _read_grid(_shown_name(path), file)
    return grid.shape_kji, grid.ijk_to_ras


def _fills_labels(out: NDArray[np.uint8], plane: NDArray[np.float64]) -> bool:
    """Put a plane of labels into ``out``; False when it holds something else."""
    whole = np.rint(plane)
    if whole.min() < 0 or whole.max() > 255 or np.abs(plane - whole).max() > LABEL_ROUNDING:
        return False
    out[:] = whole
    return True


def write_labels(
    path: str | Path,
    labels_kji: NDArray[np.uint8],
    like: CtVolume | Affine,
    description: str = "",
) -> None:
    """Write uint8 labels ``(k, j, i)`` on the grid of a CT or of a 4 x 4 ijk_to_ras in mm.

    description: what the header says of them; NIfTI holds 79 letters.
    The file appears whole or not at all. Raises ``ValueError`` when it cannot be written.
    """
    if labels_kji.dtype != np.uint8 or labels_kji.ndim != 3:
        raise ValueError(
            f"Labels are uint8 with three axes; this array is {labels_kji.dtype} with "
            f"{labels_kji.ndim}: convert it first."
        )
    _write(path, labels_kji, _affine_of(like, labels_kji.shape), description=description)


def write_ct(path: str | Path, ct: CtVolume) -> None:
    """Write a CT as int16 Hounsfield units, whole or not at all (see :func:`write_labels`)."""
    _write(path, ct.hu, ct.ijk_to_ras)


def write_probabilities(
    path: str | Path, probabilities: NDArray[np.floating[Any]], like: CtVolume | Affine
) -> None:
    """Write probabilities 0 to 1, ``(class, k, j, i)``, as 4D NIfTI with the classes last.

    Stored as one byte a value with a slope of 1/255: readers see 0 to 1, at most 1/510 off.
    """
    if probabilities.ndim != 4:
        raise ValueError(
            "Probabilities have the axes (class, k, j, i); this array has shape "
            f"{probabilities.shape}: add the missing axes."
        )
    affine = _affine_of(like, probabilities.shape[1:])
    levels = np.empty(probabilities.shape, dtype=np.uint8)
    for index in np.ndindex(probabilities.shape[:2]):  # by plane: no float copy of the whole
        levels[index] = np.rint(np.clip(probabilities[index], 0, 1) * 255)
    _write(path, levels, affine, slope=1 / 255)


@dataclass(frozen=True)
class _Grid:
    """What a header says about the numbers that follow it."""

    name: str
    shape_kji: tuple[int, int, int]
    dtype: np.dtype[Any]
    slope: float
    inter: float
    ijk_to_ras: Affine
    warnings: tuple[str, ...]


def _shown_name(path: str | Path) -> str:
    """A file's own name on one line."""
    return "".join(c if c.isprintable() else "?" for c in Path(path).name) or "This path"


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The unpacked bytes of a file; what goes wrong while reading becomes one sentence."""
    name = _shown_name(path)
    try:
        if path.is_dir():
            raise ValueError(
                f"{name} is a folder; give one .nii or .nii.gz file (dcm2niix makes it from DICOM)."
            )
        if path.exists() and not path.is_file():
            raise ValueError(f"{name} is no file (a pipe or a device); give a file.")
        with path.open("rb") as packed:
            # The first bytes decide, not the name: .nii files that are gzip inside are common.
            is_gzip = packed.read(2) == b"\x1f\x8b"
            packed.seek(0)
            # The packed file stays this block's to close, whatever state gzip is left in.
            with gzip.GzipFile(fileobj=packed) if is_gzip else nullcontext(packed) as file:
                yield cast(IO[bytes], file)
    except FileNotFoundError:
        raise ValueError(f"{name} does not exist; check the file's name and folder.") from None
    except PermissionError:
        raise ValueError(f"{name} may not be read; ask for permission to read it.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise _damaged(name) from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError("The path of the CT is too long; give a shorter one.") from None
        raise ValueError(f"{name} could not be read; check its disk and copy it again.") from None


def _damaged(name: str) -> ValueError:
    return ValueError(f"{name} is cut off or damaged; copy or export it again.")


def _read_grid(name: str, file: IO[bytes]) -> _Grid:
    """Check a header and take from it what is needed; no voxel is read."""
    from nibabel.spatialimages import HeaderDataError

    header = _read_header(name, file)
    try:
        with np.errstate(all="ignore"):  # nibabel computes with whatever stands there
            shape = tuple(int(n) for n in header.get_data_shape())
        dtype = header.get_data_dtype()
        slope, inter = header.get_slope_inter()
        start = int(header["vox_offset"])
    except (HeaderDataError, KeyError, OverflowError, ValueError):
        # KeyError: a type code that does not exist; the last two: an infinite or NaN start.
        raise _damaged(name) from None
    refuse_wrong_shape(name, shape)
    refuse_colors(name, dtype)
    i, j, k = shape[:3]
    start = max(start, header.sizeof_hdr + 4)  # some writers leave it 0
    _refuse_cut_off(name, file, start + i * j * k * dtype.itemsize)
    refuse_huge(name, shape)
    affine, warnings = _read_affine(name, header)
    warnings += check_geometry(name, (k, j, i), affine)
    file.seek(start)
    return _Grid(name, (k, j, i), dtype, slope or 1.0, inter or 0.0, affine, warnings)


def _read_header(name: str, file: IO[bytes]) -> Nifti1Header:
    """The header of a single-file NIfTI-1 or -2, without nibabel's repairs, which print."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    raw = file.read(Nifti2Header.sizeof_hdr)
    if raw[344:348] == b"n+1\0":
        return Nifti1Header(raw[: Nifti1Header.sizeof_hdr], check=False)
    if raw[4:8] == b"n+2\0" and len(raw) == Nifti2Header.sizeof_hdr:
        return Nifti2Header(raw, check=False)
    if raw[344:348] == b"ni1\0" or raw[4:8] == b"ni2\0":
        raise ValueError(
            f"{name} is half of a .hdr and .img pair; convert the pair to one .nii file."
        )
    raise ValueError(
        f"{name} is not a NIfTI file; give a .nii or .nii.gz (dcm2niix makes it from DICOM)."
    )


def _refuse_cut_off(name: str, file: IO[bytes], needed_bytes: int) -> None:
    """Before memory is asked for: can so short a file hold what its header promises?"""
    packed = isinstance(file, gzip.GzipFile)
    stored_bytes = os.fstat(file.fileno()).st_size
    if stored_bytes * (DEFLATE_AT_MOST if packed else 1) < needed_bytes:
        raise _damaged(name)


def _planes(file: IO[bytes], grid: _Grid) -> Iterator[NDArray[np.float64]]:
    """Each plane of the file in turn, float64 ``(j, i)``, scaled.

    Float64 holds every whole number of up to 53 bits: integers with an integer scale stay exact.
    """
    planes, *shape_ji = grid.shape_kji
    plane_bytes = shape_ji[0] * shape_ji[1] * grid.dtype.itemsize
    for _ in range(planes):
        raw = file.read(plane_bytes)
        if len(raw) < plane_bytes:
            raise _damaged(grid.name)
        with np.errstate(over="ignore", invalid="ignore"):
            plane = np.frombuffer(raw, grid.dtype).reshape(shape_ji).astype(np.float64)
            if (grid.slope, grid.inter) != (1.0, 0.0):
                plane = plane * grid.slope + grid.inter
        yield plane
    file.read(1)  # lets gzip compare its checksum


def _read_affine(name: str, header: Nifti1Header) -> tuple[Affine, tuple[str, ...]]:
    """ijk_to_ras in mm from the sform, else the qform, else the spacing; and warnings.

    An sform that is the identity says nothing where the qform does: programs that know qforms only
    leave it.
    """
    pixdim = header["pixdim"]
    pixdim[0] = -1.0 if pixdim[0] == -1 else 1.0  # 0 means 1 (nifti1.h)
    pixdim[1:4] = np.abs(pixdim[1:4])
    has_sform, has_qform = header["sform_code"] > 0, header["qform_code"] > 0
    try:
        with np.errstate(all="ignore"):
            affine = np.array(header.get_best_affine(), dtype=np.float64)
            by_qform = np.array(header.get_qform(), dtype=np.float64) if has_qform else affine
    except ValueError:  # a quaternion longer than one
        raise ValueError(
            f"{name} has a broken orientation in its header; export the scan again."
        ) from None
    warnings: tuple[str, ...] = ()
    if has_sform and has_qform:
        if np.array_equal(affine, np.eye(4)):
            affine = by_qform
        else:
            warnings = _contradiction(header, affine, by_qform)
    elif not has_sform and not has_qform:
        warnings = (NO_ORIENTATION,)
    affine[:3] *= MM_PER_UNIT.get(int(header["xyzt_units"]) % 8, 1.0)
    _refuse_bad_affine(name, affine)
    return affine, warnings


def _contradiction(header: Nifti1Header, by_sform: Affine, by_qform: Affine) -> tuple[str, ...]:
    """A warning where the two places a header gives lie clearly apart, both in its own unit."""
    i, j, k = (int(n) for n in header.get_data_shape()[:3])
    corners = np.array([[x, y, z, 1] for x in (0, i) for y in (0, j) for z in (0, k)]).T
    apart = np.linalg.norm(((by_sform - by_qform) @ corners)[:3], axis=0).max()
    spacing = np.linalg.norm(by_sform[:3, :3], axis=0)
    by_q = np.linalg.norm(by_qform[:3, :3], axis=0)
    if not np.isfinite(apart) or apart <= FORMS_DIFFER * spacing.min():
        return ()
    if np.abs(by_q / spacing - 1).max() > SPACINGS_DIFFER:
        say = (f"{' x '.join(f'{mm:.3g}' for mm in form)} mm" for form in (spacing, by_q))
        what = " against ".join(say)
    elif np.linalg.det(by_sform[:3, :3]) * np.linalg.det(by_qform[:3, :3]) < 0:
        what = "they mirror each other"
    else:
        what = f"up to {apart:.3g} mm apart"
    return (
        "This CT's header gives its geometry twice and differently (sform and qform:"
        f" {what}); the sform was taken, so check left and right and the sizes.",
    )


def _refuse_bad_affine(name: str, affine: Affine) -> None:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or (lengths <= 0).any():
        return  # check_geometry has the sentence
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < FLAT:
        raise ValueError(
            f"{name} has a singular affine, two axes pointing the same way; "
            "export it again with its orientation."
        )


def _affine_of(like: CtVolume | Affine, shape_kji: tuple[int, ...]) -> Affine:
    if not isinstance(like, CtVolume):
        return like
    if like.shape_kji != shape_kji:
        raise ValueError(
            f"The array has the shape {shape_kji} and the CT {like.shape_kji} (k, j, i); "
            "bring it to the CT's grid first."
        )
    return like.ijk_to_ras


def _write(
    path: str | Path,
    array: NDArray[Any],
    affine: Affine,
    slope: float = 1.0,
    description: str = "",
) -> None:
    """Write ``(..., k, j, i)``."""
    from nibabel.nifti1 import Nifti1Image

    target, name = Path(path), _shown_name(path)
    if not target.name.lower().endswith((".nii", ".nii.gz")):
        raise ValueError(f"{name} cannot be written as NIfTI; let the name end in .nii or .nii.gz.")
    image = Nifti1Image(array.T, affine)
    image.header.set_slope_inter(slope, 0.0)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode("ascii", "replace")[:DESCRIPTION_BYTES]
    image.set_sform(affine, SCANNER)
    image.set_qform(affine, SCANNER)
    with whole_file(target) as part:
        image.to_filename(part)
