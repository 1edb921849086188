"""``livertumorseg compare``: two dates of one patient, moved and turned, with known changes."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from math import cos, radians, sin
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import PATIENT, run, tree
from LiverTumorSegLib.ct.nifti import write_ct, write_labels
from LiverTumorSegLib.phantom import phantom as phantoms
from LiverTumorSegLib.phantom.liver import Liver, Tumor, place_tumors
from LiverTumorSegLib.phantom.phantom import Phantom
from LiverTumorSegLib.phantom.trunk import Patient
from LiverTumorSegLib.result.followup.comparison import Comparison, compare_dates
from LiverTumorSegLib.result.followup.registration import moved, register
from LiverTumorSegLib.result.measured import MeasuredLabels
from LiverTumorSegLib.result.plausibility import check
from LiverTumorSegLib.result.recist import response_of
from LiverTumorSegLib.result.stored import StoredResult, read_pair
from LiverTumorSegLib.volume import CtVolume
from looped import looped
from numpy.typing import NDArray

SHAPE_KJI, SPACING_KJI_MM = (60, 130, 130), (4.5, 2.9, 2.9)


def patient(seed: int, tumors: Sequence[Tumor], affine: Any = None) -> Phantom:
    """The patient of a seed with these tumors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantoms, "place_tumors", lambda liver, count: list(tumors))
        return phantoms.make_phantom(
            seed=seed, shape_kji=SHAPE_KJI, spacing_kji_mm=SPACING_KJI_MM, ijk_to_ras=affine
        )


def tumors_of(seed: int, count: int) -> list[Tumor]:
    return place_tumors(Liver(Patient.draw(seed)), count)


def sized(tumor: Tumor, factor: float) -> Tumor:
    return replace(tumor, radii_mm=tumor.radii_mm * factor)


def turn(degrees: float, axis: int) -> NDArray[np.float64]:
    matrix = np.eye(4)
    a, b = (n for n in range(3) if n != axis)
    matrix[[a, b], [a, b]] = cos(radians(degrees))
    matrix[a, b], matrix[b, a] = -sin(radians(degrees)), sin(radians(degrees))
    return matrix


def on_another_day(seed: int, tumors: Sequence[Tumor], movement: NDArray[np.float64]) -> Phantom:
    """The patient after a movement (4 x 4, RAS mm) on the scanner's table."""
    plain = patient(seed, []).ct.ijk_to_ras
    seen_from = np.linalg.inv(movement) @ plain
    made = patient(seed, tumors, seen_from)
    # the phantom stands in the grid's center: what it was moved by there is moved back
    return Phantom(CtVolume(made.ct.hu, plain), made.labels, made.tumors)


def stored(phantom: Phantom) -> StoredResult:
    checked = check(phantom.ct, phantom.labels, by_model=False)
    review = ("",) * len(checked.measures.lesions)
    return StoredResult(phantom.ct, phantom.labels, checked.measures, (), review=review)


def compared(before: Phantom, after: Phantom) -> Comparison:
    return compare_dates(stored(before), stored(after))


def nearest_tumor(phantom: Phantom, tumors: Sequence[int], point_mm: Sequence[float]) -> int:
    """Which tumor of the drawing a lesion is."""
    away = [np.linalg.norm(np.subtract(one.center_ras_mm, point_mm)) for one in phantom.tumors]
    return tumors[int(np.argmin(away))]


def volume_ml(phantom: Phantom, place: int) -> float:
    """Of a tumor, from the label map: its voxels are those nearest to its center."""
    voxels = np.argwhere(phantom.labels == 2)[:, ::-1]
    points_mm = moved(phantom.ct.ijk_to_ras, voxels.astype(np.float64))
    centers_mm = np.array([one.center_ras_mm for one in phantom.tumors])
    away = np.linalg.norm(points_mm[:, None] - centers_mm, axis=2)
    return float((away.argmin(axis=1) == place).sum()) * phantom.ct.voxel_ml


@looped(("seed", "degrees", "axis"), [(7, 12.0, 2), (3, -15.0, 0), (11, 10.0, 1)])
def test_every_change_of_a_patient_who_was_moved_and_turned_is_found(
    seed: int, degrees: float, axis: int
) -> None:
    """One grown, one shrunk, one gone, two new, the others as they were."""
    drawn = tumors_of(seed, 8)
    first = [0, 1, 2, 3, 4, 5]
    second = [0, 1, 2, 3, 5, 6, 7]  # 4 is gone; 6 and 7 are new
    factors = {0: 1.25, 1: 0.6}
    before = patient(seed, [drawn[n] for n in first])
    shrunk_and_grown = [sized(drawn[n], factors.get(n, 1.0)) for n in second]
    after = on_another_day(seed, shrunk_and_grown, turn(degrees, axis))
    found = compared(before, after)
    assert found.registration.error_mm < 5
    assert found.registration.degrees == pytest.approx(abs(degrees), abs=2)
    expected = {0: "grown", 1: "shrunk", 4: "gone", 6: "new", 7: "new"}
    seen = {}
    for row in found.rows:
        ends = []
        for numbers, date, phantom, which in (
            (row.baseline, found.baseline, before, first),
            (row.followup, found.followup, _placed(after, degrees, axis), second),
        ):
            assert len(numbers) <= 1
            for number in numbers:
                lesion = date.measures.lesions[number - 1]
                ends.append(nearest_tumor(phantom, which, lesion.centroid_ras_mm))
        assert len(set(ends)) == 1, f"{row} joins different tumors {ends}"
        seen[ends[0]] = row
    assert sorted(seen) == list(range(8))
    assert {n: row.change for n, row in seen.items()} == {
        n: expected.get(n, "unchanged") for n in range(8)
    }
    for n in set(first) & set(second):
        ratio = volume_ml(_placed(after, degrees, axis), second.index(n)) / volume_ml(
            before, first.index(n)
        )
        change = seen[n].volume_percent
        assert change is not None
        assert 1 + change / 100 == pytest.approx(ratio, rel=0.05)


def _placed(phantom: Phantom, degrees: float, axis: int) -> Phantom:
    """Tumors where the patient's movement has brought them."""
    centers_mm = moved(turn(degrees, axis), np.array([t.center_ras_mm for t in phantom.tumors]))
    tumors = tuple(
        replace(tumor, center_ras_mm=tuple(center))
        for tumor, center in zip(phantom.tumors, centers_mm.tolist(), strict=True)
    )
    return Phantom(phantom.ct, phantom.labels, tumors)


def test_the_movement_is_found_in_millimeters() -> None:
    """At the tumors, where it counts; the table has moved too."""
    drawn = tumors_of(5, 4)
    before = patient(5, drawn)
    movement = turn(9, 2) @ turn(-6, 0)
    after = on_another_day(5, drawn, movement)
    shifted = after.ct.ijk_to_ras.copy()
    shifted[:3, 3] += (18.0, -25.0, 40.0)
    movement[:3, 3] += (18.0, -25.0, 40.0)
    found = register(before.ct, before.labels, CtVolume(after.ct.hu, shifted), after.labels)
    places_mm = np.array([one.center_ras_mm for one in before.tumors])
    missed_mm = np.linalg.norm(found.apply(places_mm) - moved(movement, places_mm), axis=1)
    assert missed_mm.max() < 3


def test_a_lesion_that_fell_apart_is_split_and_the_way_back_is_merged() -> None:
    drawn = tumors_of(7, 3)
    whole = patient(7, drawn)
    labels = whole.labels.copy()
    largest = stored(whole).measures.lesions[0]
    i, j, k = (
        (np.linalg.inv(whole.ct.ijk_to_ras) @ [*largest.centroid_ras_mm, 1])[:3].round().astype(int)
    )
    slab = labels[k - 8 : k + 9, j - 12 : j + 13, i - 1 : i + 1]
    slab[slab == 2] = 1
    parted = Phantom(whole.ct, labels, whole.tumors)
    there, back = compared(whole, parted), compared(parted, whole)
    split = next(row for row in there.rows if len(row.followup) > 1)
    merged = next(row for row in back.rows if len(row.baseline) > 1)
    assert (split.baseline, len(split.followup)) == ((1,), 2)
    assert split.change.endswith("split in 2")
    assert (merged.followup, merged.baseline) == (split.baseline, split.followup)
    assert merged.change.endswith("merged of 2")
    parts = [there.followup.measures.lesions[n - 1] for n in split.followup]
    assert split.followup_ml == pytest.approx(sum(part.volume_ml for part in parts))
    assert {row.change for row in there.rows if row is not split} == {"unchanged"}


def test_two_patients_get_a_sentence_and_no_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Livers that do not fit, differ by a factor of two, or are not there; no CT, another CT."""
    one = patient(7, tumors_of(7, 2))
    wide = one.ct.ijk_to_ras @ np.diag([1.5, 0.9, 0.75, 1.0])  # another shape of the same volume
    other = Phantom(CtVolume(one.ct.hu, wide), one.labels, one.tumors)
    half = one.labels.copy()
    half[: np.flatnonzero(np.cumsum((half > 0).sum(axis=(1, 2))) > 0.6 * (half > 0).sum())[0]] = 0
    for name, phantom in (("one", one), ("other", other)):
        write_ct(tmp_path / f"{name}.nii.gz", phantom.ct)
        write_labels(tmp_path / f"{name}-labels.nii.gz", phantom.labels, phantom.ct)
    write_labels(tmp_path / "half-labels.nii.gz", half, one.ct)
    write_labels(tmp_path / "none-labels.nii.gz", np.zeros_like(half), one.ct)
    (tmp_path / "folder").mkdir()
    MeasuredLabels.of(one.ct, one.labels, ()).write(tmp_path / "folder")
    before = tree(tmp_path)
    names = ("one", "other", "half", "none")
    labels = {name: tmp_path / f"{name}-labels.nii.gz" for name in names}
    cts = {name: tmp_path / f"{name}.nii.gz" for name in ("one", "other")}
    for first, second, options, sentence in (
        (labels["one"], labels["other"], (cts["one"], cts["other"]), "do not fit onto each other"),
        (labels["one"], labels["half"], (cts["one"], cts["one"]), "give two CTs of one patient"),
        (labels["one"], labels["none"], (cts["one"], cts["one"]), "no liver in its labels"),
        (labels["one"], labels["one"], (cts["one"],), "name the CT that it was made of by"),
        (tmp_path / "folder", labels["one"], (), "name it with --baseline-ct"),
        (tmp_path / "folder", labels["one"], (cts["other"], cts["one"]), "is not the CT that"),
    ):
        named = zip(("--baseline-ct", "--followup-ct"), options, strict=False)
        words = [word for pair in named for word in pair]
        outcome = run(capsys, "compare", first, second, "-o", tmp_path / "out", *words)
        assert outcome.code == 2
        assert sentence in outcome.err.splitlines()[-1]
        assert tree(tmp_path) == before


@pytest.mark.slow
def test_real_livers_of_one_patient_fit_and_those_of_two_do_not(shared_data: Path) -> None:
    """LiTS holds three patients more than once."""

    def scan(number: int) -> StoredResult:
        folder = shared_data / "lits-subset"
        return read_pair(
            folder / f"volume-{number}.nii.gz", folder / f"segmentation-{number}.nii.gz"
        )

    dates = {number: scan(number) for number in (0, 1, 6, 7, 14, 15)}
    for one, other in ((0, 1), (14, 15), (6, 7)):
        found = compare_dates(dates[one], dates[other])
        assert found.registration.error_mm < 8
        assert found.rows
    for one, other in ((0, 14), (6, 15), (1, 7)):
        with pytest.raises(ValueError, match="do not fit onto each other"):
            compare_dates(dates[one], dates[other])


def test_folders_and_label_maps_give_the_same_table_record_and_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = tumors_of(7, 4)
    dates = {
        "before": patient(7, drawn[:3]),
        "after": on_another_day(7, [sized(drawn[0], 0.6), *drawn[1:]], turn(8, 2)),
    }
    options: list[object] = []
    for name, phantom in dates.items():
        write_ct(tmp_path / f"{PATIENT}_{name}.nii.gz", phantom.ct)
        write_labels(tmp_path / f"{name}.nii.gz", phantom.labels, phantom.ct)
        (tmp_path / name).mkdir()
        MeasuredLabels.of(phantom.ct, phantom.labels, ()).write(tmp_path / name)
        option = "--baseline-ct" if name == "before" else "--followup-ct"
        options += [option, tmp_path / f"{PATIENT}_{name}.nii.gz"]
    outs = [tmp_path / "of_folders", tmp_path / "of_maps"]
    for out, ending in zip(outs, ("", ".nii.gz"), strict=True):
        paths = [tmp_path / f"{name}{ending}" for name in dates]
        done = run(capsys, "compare", *paths, "-o", out, *options)
        assert done.code == 0, done.err
        assert set(tree(out)) == {"comparison.csv", "comparison.json", "report.html"}
        page = (out / "report.html").read_text(encoding="utf-8")
        assert "Compared with the baseline CT" in page
        assert "<script" not in page
        assert PATIENT not in page + done.out + done.err + (out / "comparison.json").read_text()
    record = json.loads((outs[0] / "comparison.json").read_text())
    assert record == json.loads((outs[1] / "comparison.json").read_text())
    with (outs[0] / "comparison.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["change"] for row in table] == [row["change"] for row in record["lesions"]]
    changes = sorted(row["change"] for row in record["lesions"])
    assert changes == ["new", "shrunk", "unchanged", "unchanged"]
    targets = [row for row in record["lesions"] if row["target"]]
    aid = record["recist_1_1_as_an_aid"]
    assert aid["baseline_sum_mm"] == sum(round(row["baseline_longest_mm"]) for row in targets)
    assert aid["new_lesions_to_be_confirmed"]
    _correct_a_match(tmp_path, capsys, [tmp_path / name for name in dates], options, record)


def _correct_a_match(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    folders: list[Path],
    options: list[object],
    record: dict[str, Any],
) -> None:
    """The pair of the first lesion taken apart, with its follow-up joined to nothing."""
    first = record["lesions"][0]
    words = ["--no-match", first["baseline"], "-o", tmp_path / "corrected"]
    done = run(capsys, "compare", *folders, *options, *words)
    assert done.code == 0, done.err
    corrected = json.loads((tmp_path / "corrected" / "comparison.json").read_text())
    assert corrected["corrections_by_the_reader"] == {
        "no_match": [int(first["baseline"])],
        "match": [],
    }
    changes = {(row["baseline"], row["followup"]): row["change"] for row in corrected["lesions"]}
    assert changes["1", ""] == "gone"
    assert changes["", first["followup"]] == "new"
    assert len(corrected["lesions"]) == len(record["lesions"]) + 1
    page = (tmp_path / "corrected" / "report.html").read_text(encoding="utf-8")
    assert "Matches corrected by the reader: lesion 1 of the baseline not matched." in page
    refused = run(capsys, "compare", *folders, *options, "--match", "9=1", "-o", tmp_path / "none")
    assert refused.code == 2
    assert "There is no lesion 9 in the baseline" in refused.err
    assert not (tmp_path / "none").exists()


def test_the_category_follows_recist() -> None:
    for before, after, category in (
        ([30, 20], [0, 0], "complete response"),
        ([30, 20], [20, 15], "partial response"),  # -30 %
        ([30, 20], [20, 16], "stable disease"),
        ([30, 20], [36, 24], "progressive disease"),  # +20 % and 10 mm
        ([30, 20], [35, 24], "stable disease"),
        ([10], [14], "stable disease"),  # +40 %, but 4 mm
        ([10], [15], "progressive disease"),
        ([], [], ""),
    ):
        assert response_of(before, after).category == category
