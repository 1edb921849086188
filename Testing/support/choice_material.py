"""What the tests of choosing share: boxes of liver and tumor that an engine sees as they are made.

volume = answered("3", "anna", [Spot(2, 6, 10, share=0.95), Spot(1, 2, 40, share=0.65, true=False)])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from evaluated_folder import save_model
from LiverTumorSegLib.ct.nifti import write_ct, write_labels
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.segmenter import Segmenter
from LiverTumorSegLib.inference.slices import SliceNetwork
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray

from training.tuning.search import PredictedCase, Search, Setting

PLAIN = SlicePreprocessing(grid_px=64, size_px=64, use_clahe=False, use_gamma=False)
SHAPE_KJI = (10, 64, 64)
SPACING_KJI_MM = (4.0, 3.0, 3.0)
AIR_HU, LIVER_HU, HU_A_SHARE = -200, 60, 100
DEFAULT = Setting(Decision(), Postprocessing())

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Spot:
    """A square on slices first to last - 1, whose tumor share the engine sees as ``share``.

    row, column: of its corner; the liver goes from row 8 to 55. true: whether it is tumor in truth.
    """

    first: int
    last: int
    column: int
    share: float = 0.95
    true: bool = True
    row: int = 20
    side: int = 6


class GraysAreShares:
    """Air is background; from liver on, a voxel's gray tells its share of tumor, 0 to 1."""

    def __init__(self) -> None:
        self.device, self.batch = "cpu", 4
        self.warnings: list[str] = []

    def __call__(self, grays: NDArray[np.uint8]) -> NDArray[np.float32]:
        return seen(self, grays)


def seen(engine: object, grays: NDArray[np.uint8]) -> NDArray[np.float32]:
    """In place of a network."""
    gray = grays.astype(np.float32) / 255
    liver, tumor = gray > 0.4, np.clip(2 * gray - 1, 0, 1)
    return np.stack([1.0 - liver, liver * (1 - tumor), liver * tumor], axis=-1, dtype=np.float32)


def scan(spots: Sequence[Spot]) -> tuple[CtVolume, Labels]:
    """A liver with spots, in LPS order, and its true labels."""
    hu, true = np.full(SHAPE_KJI, AIR_HU, np.int16), np.zeros(SHAPE_KJI, np.uint8)
    hu[1:-1, 8:-8, 4:-4], true[1:-1, 8:-8, 4:-4] = LIVER_HU, Label.LIVER
    for spot in spots:
        corner, side = (spot.row, spot.column), spot.side
        where = slice(spot.first, spot.last), *(slice(at, at + side) for at in corner)
        hu[where] = LIVER_HU + round(HU_A_SHARE * spot.share)
        if spot.true:
            true[where] = Label.TUMOR
    k, j, i = SPACING_KJI_MM
    return CtVolume(hu, np.diag([-i, -j, k, 1.0])), true


def segmenter(setting: Setting = DEFAULT) -> Segmenter:
    from threshold_slices import spec_of

    network = SliceNetwork(GraysAreShares(), PLAIN)
    return Segmenter(network, spec_of(), setting.decision, setting.postprocessing)


def answered(case: str, patient: str, spots: Sequence[Spot]) -> PredictedCase:
    ct, true = scan(spots)
    return PredictedCase(case, patient, segmenter().predict(ct), true)


def search(
    *volumes: PredictedCase, default: Setting = DEFAULT, least_recall: float = 0.0
) -> Search:
    return Search(volumes, default, least_recall=least_recall)


def random_spots(seed: int) -> list[Spot]:
    """Spots side by side, sure or not, right or wrong, on one slice or through several."""
    random = np.random.default_rng(seed)
    spots = [Spot(2, 7, 6, share=0.9)]
    for column in range(16, 50, 10):
        first = int(random.integers(1, 5))
        spots.append(
            Spot(
                first,
                first + int(random.integers(1, 5)),
                column,
                share=float(random.uniform(0.3, 1)),
                true=bool(random.random() < 0.5),
            )
        )
    return spots


SPOTS = {
    "0": [Spot(2, 7, 10)],
    "3": [Spot(2, 7, 10), Spot(4, 5, 40, share=0.65, true=False)],
    "23": [Spot(3, 8, 20), Spot(6, 7, 40, share=0.62, true=False)],
    "41": [Spot(5, 6, 30, share=0.65, true=False)],
    "47": [],
}


def write_cases(data: Path) -> Path:
    """LiTS 3, 23 and 41 in val, the last without tumor; 0 in train, 47 in test."""
    data.mkdir()
    for name, spots in SPOTS.items():
        ct, labels = scan(spots)
        write_ct(data / f"volume-{name}.nii.gz", ct)
        write_labels(data / f"segmentation-{name}.nii.gz", labels, ct)
    sets = {"0": "train", "47": "test"}
    rows = [f"volume-{n}.nii.gz,p{n},{sets.get(n, 'val')},case\n" for n in SPOTS]
    (data / "manifest.csv").write_text("file,patient_group,split,kind\n" + "".join(rows))
    return data


def write_model(path: Path, trained_on: Sequence[str] = ("0",)) -> Path:
    """Random weights; to be run with ``seen`` in place of the network."""
    bundle = ModelFile.load(save_model(path, list(trained_on)))
    ModelFile(replace(bundle.spec, preprocessing=PLAIN.to_dict()), bundle.state).save(path)
    return path
