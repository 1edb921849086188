"""Which cases are scored and refused; what the sets hold, whatever way the files lie."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import nibabel
import numpy as np
import pytest
from evaluated_folder import write_cases
from LiverTumorSegLib.inference.segmenter import Segmenter
from score_material import case

from training.cases.case import Case
from training.cases.folder import find_cases
from training.score.cases import chosen_cases, set_facts, shared_with_training


def trained(**provenance: Any) -> Segmenter:
    return cast(Segmenter, SimpleNamespace(spec=SimpleNamespace(provenance=provenance)))


def test_another_scan_of_a_training_patient_is_shared() -> None:
    """LiTS 6 to 10 are one patient, also where the table calls it otherwise."""
    segmenter = trained(train=["6"])
    assert shared_with_training(segmenter, [case("8", "p8")])
    assert not shared_with_training(segmenter, [case("11", "p11")])


def test_groups_and_names_and_context_files_are_looked_at() -> None:
    assert shared_with_training(trained(train_groups=["anna"]), [case("200", "anna")])
    assert shared_with_training(trained(train=["200"]), [case("200", "anna")])
    assert not shared_with_training(trained(), [case("200", "anna")])


def test_set_facts_by_hand(tmp_path: Path) -> None:
    facts = {one.name: one for one in set_facts(find_cases(write_cases(tmp_path / "d")))}
    assert (facts["val"].volumes, facts["val"].slices, facts["val"].labeled_slices) == (1, 4, 2)
    assert facts["val"].tumor_slices == 2
    assert facts["val"].tumor_ml == pytest.approx([18 * 8 * 8 * 5 / 1000])
    assert facts["test"].tumor_ml == [0.0]
    assert facts["test"].names == ["47"]


def test_slices_are_axial_in_a_file_that_lies_on_its_side(tmp_path: Path) -> None:
    data = write_cases(tmp_path / "d")
    for path in data.glob("*-3.nii.gz"):
        image = nibabel.Nifti1Image.from_filename(path)
        turned = image.as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
        nibabel.Nifti1Image(np.asanyarray(turned.dataobj), turned.affine).to_filename(path)
    facts = {one.name: one for one in set_facts(find_cases(data))}
    assert (facts["val"].slices, facts["val"].labeled_slices) == (4, 2)


def test_context_files_count_as_slices_and_are_not_scored() -> None:
    scan = case("5")
    context = Case("5-context", Path("x"), None, "5", "val", "context")
    assert chosen_cases([scan, context], "val") == [scan]
    with pytest.raises(ValueError, match="No case of split 'test'"):
        chosen_cases([scan, context], "test")
