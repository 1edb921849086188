"""What the figures are given: chosen slices as the reader sees them, and the scores' own counts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from evaluated_folder import write_cases
from LiverTumorSegLib.ct.nifti import write_labels
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.segmenter import Segmenter

from training.cases.folder import find_cases
from training.reports.evaluation_figures import figure_material
from training.score.case import Run, read_pair, score_run
from training.score.lesions import LesionConfidence

SPEC = SimpleNamespace(net="hybrid2d", net_args={"width": 8}, provenance={})
SPEC.networks = {"all": SPEC}
SEGMENTER = cast(Segmenter, SimpleNamespace(preprocessing=SlicePreprocessing(), spec=SPEC))


@pytest.fixture
def material(tmp_path: Path) -> Any:
    """LiTS 3 found but for one slice, LiTS 47 without tumor."""
    cases = [c for c in find_cases(write_cases(tmp_path / "d")) if c.split != "train"]
    scores = []
    (tmp_path / "labels").mkdir()
    for case in cases:
        ct, true = read_pair(case)
        made = true.copy()
        made[2][made[2] == 2] = 1
        write_labels(tmp_path / "labels" / f"{case.name}.nii.gz", made, ct)
        sure = np.where(made == 2, 204, 0).astype(np.uint8)
        scores.append(score_run(case, ct, Run(made, "cpu", 4, 4, 1.0, None, sure), true))
    labels = tmp_path / "labels"
    made = figure_material(SEGMENTER, scores, cases, labels, scope="val", sets=[], history=[])
    return made, cases, scores


def test_views_are_the_slices_of_the_files(material: Any) -> None:
    made, cases, _ = material
    assert [view.case for view in made.views] == ["3"]  # the tumor-free one has none to show
    view = made.views[0]
    ct, true = read_pair(cases[0])
    np.testing.assert_array_equal(view.hu, ct.hu[view.slice_index])
    np.testing.assert_array_equal(view.true, true[view.slice_index])
    assert view.spacing_ji_mm == (8.0, 8.0)


def test_ranked_slices_are_the_found_and_the_missed_one(material: Any) -> None:
    made, _, _ = material
    dice = {rank: view.dice("tumor") for rank, view in made.ranked.items()}
    assert made.ranked_of == 2
    assert dice["best"] == 1.0
    assert min(dice.values()) == 0.0


def test_numbers_are_those_of_the_scores(material: Any) -> None:
    made, _, scores = material
    np.testing.assert_array_equal(made.matrix, scores[0].volume.matrix + scores[1].volume.matrix)
    assert [pair.true_ml for pair in made.pairs] == [
        pytest.approx(row["tumor_true_ml"]) for row in (score.row() for score in scores)
    ]
    assert [lesion.detected for lesion in made.lesions] == [True]
    # half of the lesion was found
    assert made.lesions[0].dice == pytest.approx(2 / 3)
    # all that was marked is tumor
    assert made.confidences == [LesionConfidence(0.8, 1.0)]
    assert made.calibration is None
    tumor = {one.patient: one.dice["tumor"] for one in made.patient_dice}
    assert tumor["lits3"] == pytest.approx(2 / 3)
    assert np.isnan(tumor["ircad20"])
    assert made.dice_intervals["liver"].mean == pytest.approx(1.0)
