"""A study of several series: what `info` lists, which one `segment` takes, and how one is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import PATIENT, rows_of, run, save_ct, some_hu
from dicom_files import changed, save_series, some_ct
from LiverTumorSegLib.ct.dicom import read_series
from LiverTumorSegLib.ct.nifti import read_labels
from LiverTumorSegLib.ct.phase import Phase, phase_of_delay, phase_of_words
from LiverTumorSegLib.ct.study import (
    StudySeries,
    WantedSeries,
    choose_series,
    propose_series,
    read_study,
)
from LiverTumorSegLib.volume import CtVolume
from pydicom.uid import generate_uid

STUDY = generate_uid()


def tall_ct(spacing_mm: float, plane: str = "axial") -> CtVolume:
    """About 200 mm of air and body."""
    count = round(200 / spacing_mm)
    axes = {"axial": (1.0, 1.0, spacing_mm), "coronal": (1.0, spacing_mm, 1.0)}[plane]
    order = {"axial": (0, 1, 2), "coronal": (0, 2, 1)}[plane]
    ijk_to_ras = np.zeros((4, 4))
    for column, axis in enumerate(order):
        ijk_to_ras[axis, column] = (-1 if axis < 2 else 1) * axes[axis]
    ijk_to_ras[3, 3] = 1
    return CtVolume(np.full((count, 8, 8), 40, np.int16), ijk_to_ras)


def add(
    folder: Path, name: str, spacing_mm: float = 5.0, plane: str = "axial", **header: object
) -> str:
    """One series of the study in a folder of its own; its UID."""
    uid = generate_uid()
    values = {"StudyInstanceUID": STUDY, "SeriesDescription": name, **header}
    number = 1 + sum(1 for _ in folder.glob("*")) if folder.exists() else 1
    save_series(
        folder / f"s{number}",
        tall_ct(spacing_mm, plane),
        change=changed(**values),
        names=lambda k: f"{k:04d}",
        series=uid,
        number=number,
    )
    return uid


def proposed(folder: Path, **options: object) -> tuple[str, str]:
    chosen, why = propose_series(read_study(folder), **options)  # type: ignore[arg-type]
    return chosen.description, why


def test_the_words_of_operators_name_phases() -> None:
    said: dict[Phase, str] = {
        "unenhanced": "Abdomen nativ|ABD W/O CONTRAST|Non-contrast 5.0|unenhanced|NCCT|sans inj",
        "arterial": "art 1.0 B30f|LATE ARTERIAL|Arterielle Phase|Arteriell_sp|CTA|fase arteriosa",
        "portal-venous": "Portalvenös 1.0|PV 3mm|venous|Abd Ven 2.0|portal_phase|PORTAL LATE",
        "late": "delayed 5 min|Late phase|tardif|Spätphase|equilibrium|excretory",
        "unknown": "|Abdomen 1.0 B30f|CT AP|art/portal|3-phase art. ven. nativ|Thorax lung|sinus",
    }
    for phase, texts in said.items():
        for text in texts.split("|"):
            assert phase_of_words(text) == phase, text


def test_the_time_since_the_injection_names_phases() -> None:
    found = [phase_of_delay(s) for s in (0, 25, 52, 70, 130, 180, 40000)]
    assert found == [
        *("unknown", "arterial", "unknown", "portal-venous", "unknown", "late", "unknown")
    ]


def test_the_portal_venous_thin_axial_series_is_proposed(tmp_path: Path) -> None:
    add(tmp_path, "nativ 1.0", 1.0)
    add(tmp_path, "arterial 1.0", 1.0)
    add(tmp_path, "portal 5.0")
    add(tmp_path, "portal 1.0", 1.25)
    add(tmp_path, "portal 1.0 bone", 1.0, ConvolutionKernel="B70f")
    add(tmp_path, "portal cor MPR", 1.0, "coronal")
    add(tmp_path, "portal MIP", 1.0, ImageType=["DERIVED", "SECONDARY", "AXIAL", "MIP"])
    name, why = proposed(tmp_path)
    assert name == "portal 1.0"
    assert why == (
        "Of 7 CT series number 4 was taken (portal-venous by its description; axial, 160 slices"
        " 1.2 mm apart, 200 mm of the body); --series chooses another."
    )


def test_the_injection_time_tells_where_no_word_does(tmp_path: Path) -> None:
    for time in ("100030", "100110", "100330"):
        add(tmp_path, f"Abd {time}", ContrastBolusStartTime="100000", AcquisitionTime=time)
    name, why = proposed(tmp_path)
    assert name == "Abd 100110"
    assert "portal-venous by its injection time" in why


def test_gray_values_are_asked_for_only_where_headers_say_nothing(tmp_path: Path) -> None:
    asked: list[str] = []

    def look(entry: StudySeries) -> Phase:
        asked.append(entry.description)
        return "portal-venous" if entry.description == "b" else "arterial"

    add(tmp_path, "a"), add(tmp_path, "b"), add(tmp_path, "nativ"), add(tmp_path, "c", 8.0)
    name, why = proposed(tmp_path, phase_of_image=look)
    assert (name, asked) == ("b", ["a", "b"])  # c is too thick to be asked
    assert "portal-venous by its gray values" in why
    add(tmp_path, "portal")
    assert proposed(tmp_path, phase_of_image=look)[0] == "portal"
    assert asked == ["a", "b"]


def test_two_examinations_are_not_chosen_between(tmp_path: Path) -> None:
    add(tmp_path, "portal")
    add(tmp_path, "portal", StudyInstanceUID=generate_uid())
    with pytest.raises(ValueError, match="several examinations; give the folder of one, or choose"):
        proposed(tmp_path)


def test_a_series_is_named_by_number_description_or_uid(tmp_path: Path) -> None:
    first, second = add(tmp_path, "nativ 5.0"), add(tmp_path, "Portal 5.0")
    entries = read_study(tmp_path)
    for wanted, uid in ((first, first), ("1", first), ("portal*", second), ("PORTAL 5.0", second)):
        assert choose_series(entries, WantedSeries(wanted)).uid == uid
    with pytest.raises(ValueError, match=r"'\*5.0' fits 2 CT series; choose one with --series, 1"):
        choose_series(entries, WantedSeries("*5.0"))
    with pytest.raises(ValueError, match="No series in this folder is called like 'late'"):
        choose_series(entries, WantedSeries("late"))


def test_phases_in_one_series_are_not_named_by_its_description(tmp_path: Path) -> None:
    uid = generate_uid()
    for n in (1, 2):
        save_series(
            tmp_path / "s",
            CtVolume(tall_ct(5.0).hu + np.int16(n), tall_ct(5.0).ijk_to_ras),
            change=changed(AcquisitionNumber=n, SeriesDescription="portal"),
            names=lambda k, n=n: f"{n}_{k:03d}",
            series=uid,
        )
    entries = read_study(tmp_path)
    assert [entry.series.stack.phase for entry in entries] == [
        f"phase {n} of 2, AcquisitionNumber {n}" for n in (1, 2)
    ]
    assert {entry.phase for entry in entries} == {"unknown"}


def save_phases(folder: Path) -> list[CtVolume]:
    """One series of acquisitions 2, 9 and 10, whose files lie in another order; each 10 HU more."""
    uid, cts = generate_uid(), []
    for name, number in (("c", 2), ("b", 9), ("a", 10)):
        cts.append(CtVolume(some_ct().hu + np.int16(10 * len(cts)), some_ct().ijk_to_ras))
        change = changed(AcquisitionNumber=number, StudyInstanceUID=STUDY)
        names = lambda k, name=name: f"{name}{k}"  # noqa: E731
        save_series(folder, cts[-1], change=change, names=names, series=uid)
    return cts


def test_a_phase_is_chosen_by_its_number_in_the_order_of_acquisition(tmp_path: Path) -> None:
    cts = save_phases(tmp_path / "s")
    with pytest.raises(ValueError, match="3 phases; choose one with --phase, 1 to 3"):
        choose_series(read_study(tmp_path))
    with pytest.raises(ValueError, match=r"no phase 10 here; choose a number from 1 to 3\."):
        choose_series(read_study(tmp_path), WantedSeries(phase=10))
    for n, (ct, number) in enumerate(zip(cts, (2, 9, 10), strict=True), 1):
        for wanted in (WantedSeries(phase=n), WantedSeries(str(n)), WantedSeries("*", n)):
            entry = choose_series(read_study(tmp_path), wanted)
            assert entry.series.stack.phase == f"phase {n} of 3, AcquisitionNumber {number}"
            np.testing.assert_array_equal(read_series(entry.series)[0].hu, ct.hu)
    save_series(tmp_path / "alone")
    entries = read_study(tmp_path)
    assert choose_series(entries, WantedSeries(phase=2)).series.stack.number == 2
    alone = next(entry for entry in entries if not entry.series.stack.number)
    with pytest.raises(ValueError, match="No series here holds several phases"):
        choose_series([alone], WantedSeries(phase=1))


def mean_hu_of(result: Path) -> float:
    """Of the largest lesion."""
    record = json.loads((result / "lesions.json").read_text())
    return float(record["lesions"][0]["mean_hu"])


def test_the_phases_of_a_perfusion_are_listed_in_their_order(tmp_path: Path) -> None:
    """Eleven, told apart by their time; as texts 10 and 11 would stand before 2."""
    uid = generate_uid()
    for n in range(11):
        ct = CtVolume(some_ct().hu[:3] + np.int16(n), some_ct().ijk_to_ras)
        names = lambda k, n=n: f"{n:02d}-{k}"  # noqa: E731
        change = changed(ContentTime=f"1015{59 - 5 * n:02d}")
        save_series(tmp_path, ct, change=change, names=names, series=uid)
    entries = read_study(tmp_path)
    assert [entry.series.stack.number for entry in entries] == list(range(1, 12))
    read = [int(read_series(entry.series)[0].hu[0, 0, 0]) for entry in entries]
    assert read == sorted(read, reverse=True)


@pytest.mark.usefixtures("known", "no_picture")
def test_segment_measure_and_report_take_the_phase_that_is_asked_for(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, means = tmp_path / "study", []
    save_phases(study)
    for n in (1, 2, 3):
        out, phase = tmp_path / str(n), ("--phase", n)
        done = run(capsys, "segment", study, *phase, "-o", out, "--model", model, "--device", "cpu")
        assert done.code == 0
        means.append(mean_hu_of(out))
        measured = run(capsys, "measure", study, out / "seg.nii.gz", *phase, "-o", out / "again")
        assert measured.code == 0
        assert mean_hu_of(out / "again") == means[-1]
        assert run(capsys, "report", out, "--ct", study, *phase).code == 0
        other = run(capsys, "report", out, "--ct", study, "--phase", n % 3 + 1, "--overwrite")
        assert (other.code, "not the CT that" in other.err) == (2, True)
    assert np.diff(means).tolist() == pytest.approx([10, 10], abs=0.2)


def test_a_coronal_series_is_known_as_one(tmp_path: Path) -> None:
    add(tmp_path, "cor", 5.0, "coronal")
    (entry,) = read_study(tmp_path)
    assert not entry.is_axial


def test_info_lists_what_headers_say_and_the_proposal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = {"ConvolutionKernel": "B30f", "ContrastBolusAgent": "IOMERON", "PatientName": PATIENT}
    add(tmp_path, "nativ\x1b[2J", AcquisitionDate="20260302", AcquisitionTime="103059.5")
    uid = add(tmp_path, "portal 1.0", 2.0, **header)
    lines = run(capsys, "info", tmp_path).out.splitlines()
    assert lines[0].startswith("  1  nativ")
    assert "\x1b" not in lines[0]
    assert lines[3] == "     2026-03-02 10:30, series number 1, in s1"
    at = lines.index("  2  portal 1.0")
    assert lines[at + 1 : at + 5] == [
        "     100 slices of 8 x 8, 9.5 mm thick, 2.00 mm apart, 200 mm long, axial",
        "     phase portal-venous (description), contrast IOMERON, kernel B30f",
        "     series number 2, in s2",
        f"     UID {uid}",
    ]
    assert lines[-1].startswith(
        "`livertumorseg segment`: Of 2 CT series number 2 was taken (portal"
    )
    assert PATIENT not in "".join(lines)


@pytest.mark.usefixtures("known", "no_picture")
def test_segment_takes_the_proposal_and_says_so_in_the_record(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    for name, ct in (
        ("nativ", some_ct()),
        ("portal", CtVolume(some_ct().hu[:8], some_ct().ijk_to_ras)),
    ):
        save_series(
            study / name,
            ct,
            change=changed(StudyInstanceUID=STUDY, SeriesDescription=f"{name} {PATIENT}"),
        )
    done = run(capsys, "segment", study, "-o", tmp_path / "r", "--model", model, "--device", "cpu")
    assert done.code == 0
    assert "Of 2 CT series number 2 was taken (portal-venous by its description" in done.err
    record = (tmp_path / "r" / "lesions.json").read_text()
    assert "portal-venous by its description" in record
    assert PATIENT not in done.out + done.err + record
    assert read_labels(tmp_path / "r" / "seg.nii.gz")[0].shape[0] == 8


def test_a_file_has_no_series_to_choose(tmp_path: Path) -> None:
    from LiverTumorSegLib.ct.read import read_input

    with pytest.raises(ValueError, match="no folder of DICOM"):
        read_input(save_ct(tmp_path / "ct.nii"), WantedSeries(phase=1))


@pytest.mark.usefixtures("known", "no_picture")
def test_a_batch_looks_at_images_once_and_never_again(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The series that was chosen by its gray values is known by its result later."""
    looks: list[str] = []

    def look(entry: StudySeries, segmenter: object) -> Phase:
        looks.append(entry.series.folder.name)
        return "portal-venous" if entry.series.folder.name == "b" else "arterial"

    monkeypatch.setattr("LiverTumorSegLib.cli.phase_of_series.phase_of_series", look)
    tall = CtVolume(np.ascontiguousarray(some_hu((64, 60, 31)).T), some_ct().ijk_to_ras)
    for name in "ab":
        change = changed(StudyInstanceUID=STUDY, SeriesDescription="Abdomen")
        save_series(tmp_path / "in" / name, tall, change=change, names=lambda k: f"{k:03d}")
    out = tmp_path / "out"
    command = ("batch", tmp_path / "in", out, "--one-per-study", "--model", model)
    for status in ("done", "skipped"):
        assert run(capsys, *command, "--device", "cpu").code == 0
        rows = {row["case"]: row for row in rows_of(out)}
        assert (rows["a"]["status"], rows["b"]["status"]) == ("left out", status)
        assert looks == ["a", "b"]
    assert "Another series of this study was taken, b (" in rows["a"]["reason"]
