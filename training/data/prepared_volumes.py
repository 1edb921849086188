"""Cases as volumes for a patch network, beside what :mod:`training.data.prepared` writes.

One folder a case: image.npy, float16 (k, size, size) in [0, 1] as VolumePreprocessing gives it;
labels.npy, uint8 (k, size, size) with the numbers of LiTS; case.json. Slices are in LPS order, from
the feet up. Context files hold single slices and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray

from training.cases import splits
from training.cases.case import Case
from training.data.prepared import (
    Bytes,
    PrepareCase,
    hu_range,
    run_jobs,
    slice_facts,
)
from training.files import write_json

PUBLISHED = VolumePreprocessing()


@dataclass(frozen=True)
class PrepareVolume(PrepareCase):
    """A case as one volume for a 3D net."""

    preprocessing: VolumePreprocessing

    @property
    def settings(self) -> dict[str, Any]:
        return {"preprocessing": self.preprocessing.to_dict()}

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("image", "labels")

    def arrays(self, ct: CtVolume, labels: Bytes) -> dict[str, NDArray[Any]]:
        spacing = ct.spacing_kji_mm
        return {
            "image": self.preprocessing(ct.hu, spacing),
            "labels": self.preprocessing.place_labels(labels, spacing),
        }

    def facts(self, ct: CtVolume, labels: Bytes) -> dict[str, Any]:
        grid_mm = self.preprocessing.grid_spacing_kji_mm(ct.spacing_kji_mm, ct.shape_kji)
        tumor_voxels = int(np.count_nonzero(labels == Label.TUMOR))
        return {
            **slice_facts(ct, labels),
            "shape_kji": list(ct.shape_kji),
            "grid_spacing_kji_mm": list(grid_mm),
            "tumor_ml": round(tumor_voxels * float(np.prod(grid_mm)) / 1000, 3),
        }


def prepare_volumes(
    cases: Sequence[Case],
    folder: Path,
    preprocessing: VolumePreprocessing = PUBLISHED,
    *,
    workers: int = 1,
    group_by: splits.GroupBy = "patient",
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> dict[str, Any]:
    """Prepare every scan and write ``manifest.json`` last; returns the manifest.

    group_by: as in :func:`training.data.prepared.prepare`. Raises ``ValueError`` when there are
    only context files.
    """
    scans = [case for case in cases if case.kind != "context"]
    if not scans:
        raise ValueError("These are single slices, not scans; a patch network needs whole scans.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)  # it vouches for arrays written below
    jobs = [PrepareVolume(case, folder, preprocessing) for case in scans]
    records = run_jobs(jobs, workers, progress)
    manifest = {
        "format": 1,
        "preprocessing": preprocessing.to_dict(),
        "group_by": group_by,
        "hu_range": hu_range(records),
        "cases": records,
    }
    write_json(folder / "manifest.json", manifest)
    return manifest
