"""``livertumorseg report``: the result on a page that needs nothing else and hides nothing."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import PATIENT, run, tree
from dicom_files import changed, save_series
from LiverTumorSegLib.ct.nifti import write_ct, write_labels
from LiverTumorSegLib.model.catalog import shipped_models
from LiverTumorSegLib.phantom.phantom import Phantom, make_phantom
from LiverTumorSegLib.result.lesions import Lesion
from LiverTumorSegLib.result.measured import MeasuredLabels
from LiverTumorSegLib.result.plausibility import check
from LiverTumorSegLib.result.recist import propose_targets
from LiverTumorSegLib.result.report import render_report
from LiverTumorSegLib.result.stored import StoredResult
from LiverTumorSegLib.volume import CtVolume

NOTICE = "For research only, not for diagnosis."
DAY = date(2026, 11, 29)


class Page(HTMLParser):
    """What a browser would see: text, tags, addresses, table rows, boxes that are ticked."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.cells: list[str] = []
        self.ticked: list[str] = []
        self.text = ""
        self._hidden = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]
        self._hidden = tag in ("style", "title")
        if tag == "td":
            self.cells.append("")
        if tag == "input" and "checked" in values:
            self.ticked.append(str(values["id"]))

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data
            if self.cells:
                self.cells[-1] += data


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(seed=7, shape_kji=(36, 80, 80), spacing_kji_mm=(8.0, 5.0, 5.0))


@pytest.fixture
def case(phantom: Phantom, tmp_path: Path) -> tuple[Path, Path]:
    """A CT's file and the result folder made of it."""
    ct = tmp_path / f"{PATIENT}.nii.gz"
    write_ct(ct, phantom.ct)
    folder = tmp_path / "result"
    folder.mkdir()
    MeasuredLabels.of(phantom.ct, phantom.labels, ()).write(folder)
    return ct, folder


def stored(phantom: Phantom, warnings: tuple[str, ...] = ()) -> StoredResult:
    checked = check(phantom.ct, phantom.labels)
    review = ("",) * len(checked.measures.lesions)
    return StoredResult(phantom.ct, phantom.labels, checked.measures, warnings, review=review)


def test_the_page_needs_nothing_else_and_runs_nothing(phantom: Phantom) -> None:
    html = render_report(stored(phantom), today=DAY)
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(page.tags)
    assert not re.search(r"https?:|url\(|@import|\bon\w+=", html.split("<body>")[0])
    assert len(page.addresses) == 1 + len(check(phantom.ct, phantom.labels).measures.lesions)
    for address in page.addresses:
        kind, _, data = address.partition(",")
        assert kind == "data:image/jpeg;base64"
        assert cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1).std() > 10
    assert NOTICE in page.text
    assert "default-src 'none'" in html


def test_all_text_is_escaped(phantom: Phantom) -> None:
    """Whatever a name, a model or a warning holds, it is text on the page and nothing else."""
    nasty = """<script>alert("1")</script>'"><img src=x onerror=y>&amp;"""
    result = replace(
        stored(phantom, warnings=(nasty,)),
        record={"model": {"model": nasty, "version": nasty, "sha256": nasty}},
        review=(nasty,) * len(check(phantom.ct, phantom.labels).measures.lesions),
    )
    plain = Page(render_report(stored(phantom), today=DAY))
    page = Page(
        render_report(
            result,
            reader=nasty,
            patient={nasty: nasty},
            model=replace(shipped_models()[0], scores={nasty: nasty}),
            today=DAY,
        )
    )
    assert page.text.count(nasty) >= 8
    assert page.tags.count("img") == plain.tags.count("img")
    assert "script" not in page.tags


def test_the_page_holds_the_numbers_of_the_table(
    case: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    ct, folder = case
    done = run(capsys, "report", folder, "--ct", ct, "--reader", "A. Reader")
    assert done.code == 0, done.err
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    record = json.loads((folder / "lesions.json").read_text())
    rows = [page.cells[n : n + 7] for n in range(0, len(page.cells), 7)]
    assert len(rows) == len(record["lesions"]) > 0
    for row, lesion in zip(rows, record["lesions"], strict=True):
        assert int(row[1]) == lesion["number"]
        assert float(row[2]) == pytest.approx(lesion["volume_ml"], rel=0.01)
        longest, across = (int(text) for text in row[3].split("\N{MULTIPLICATION SIGN}"))
        assert abs(longest - lesion["longest_axial_diameter_mm"]) <= 0.51
        assert abs(across - lesion["perpendicular_diameter_mm"]) <= 0.51
        assert row[4].startswith(f"{lesion['slice_index']} (")
    for text in ("A. Reader", f"{record['liver_volume_ml']:.0f} mL", "unknown origin"):
        assert text in page.text.replace("\n", " ")
    assert "measured anew" not in page.text
    assert PATIENT not in page.text + done.out + done.err


def test_numbers_without_end_in_a_record_are_no_ones_and_break_nothing(
    case: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON has whole numbers of any length, which no float holds."""
    ct, folder = case
    whole = json.loads((folder / "lesions.json").read_text())
    endless = 10**400

    def report(record: dict[str, Any]) -> Any:
        (folder / "lesions.json").write_text(json.dumps(record))
        return run(capsys, "report", folder, "--ct", ct, "--overwrite")

    for record in (
        {**whole, "liver_volume_ml": endless},
        {**whole, "lesions": [{**row, "confidence": -endless} for row in whole["lesions"]]},
        {**whole, "run": {"seconds": endless}},
    ):
        refused = report(record)
        assert refused.code == 2
        assert "written by another program" in refused.err
    far = [{**row, "centroid_r_mm": endless} for row in whole["lesions"]]
    done = report({**whole, "lesions": far})
    assert done.code == 0, done.err


def test_edited_labels_are_measured_anew_and_the_page_says_so(
    phantom: Phantom, case: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A lesion was erased in another program; the record is of the labels before."""
    ct, folder = case
    record = json.loads((folder / "lesions.json").read_text())
    for row in record["lesions"]:
        row["review"] = "accepted"
    (folder / "lesions.json").write_text(json.dumps(record))
    lesions = check(phantom.ct, phantom.labels).measures.lesions
    labels = phantom.labels.copy()
    k, j, i = place_of(phantom.ct, lesions[-1])
    around = labels[k - 3 : k + 4, j - 4 : j + 5, i - 4 : i + 5]
    around[around == 2] = 1
    write_labels(folder / "seg.nii.gz", labels, phantom.ct)
    expected = check(phantom.ct, labels, by_model=False).measures
    assert len(expected.lesions) == len(lesions) - 1
    assert run(capsys, "report", folder, "--ct", ct).code == 0
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert "The labels were changed after the run" in page.text
    assert "changed by somebody after the run" in page.text
    assert len(page.cells) == 7 * len(expected.lesions)
    assert page.text.count("accepted") == len(expected.lesions)  # those that are as they were


def place_of(ct: CtVolume, lesion: Lesion) -> tuple[int, int, int]:
    ijk = np.linalg.inv(ct.ijk_to_ras) @ [*lesion.centroid_ras_mm, 1]
    i, j, k = (round(float(n)) for n in ijk[:3])
    return k, j, i


def test_what_cannot_be_reported_is_one_sentence_and_writes_nothing(
    phantom: Phantom, case: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ct, folder = case
    other = CtVolume(phantom.ct.hu + np.int16(1), phantom.ct.ijk_to_ras)
    write_ct(tmp_path / "other.nii.gz", other)
    (tmp_path / "empty").mkdir()
    (folder / "there.html").write_text("mine")
    before = tree(tmp_path)
    for arguments, sentence in (
        ((folder,), "name it with --ct"),
        ((folder, "--ct", tmp_path / "other.nii.gz"), "is not the CT that result was made of"),
        ((folder, "--ct", tmp_path / "absent.nii.gz"), "does not exist"),
        ((folder, "--ct", ct, "--with-patient"), "give the DICOM folder"),
        ((folder, "--with-patient"), "name it by --ct"),
        ((folder, "--ct", ct, "-o", folder / "seg.nii.gz"), "let it end in .html"),
        ((folder, "--ct", ct, "-o", folder / "there.html"), "exists"),
        ((tmp_path / "empty", "--ct", ct), "holds no seg.nii.gz"),
    ):
        outcome = run(capsys, "report", *arguments)
        assert outcome.code == 2
        assert sentence in outcome.err.splitlines()[-1]
        assert tree(tmp_path) == before


def test_a_patient_is_named_only_where_somebody_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the DICOM folder itself; dates too."""
    phantom = make_phantom(seed=3, shape_kji=(30, 40, 40), spacing_kji_mm=(9.0, 9.0, 9.0))
    patient = {"PatientName": "Doe^Jane", "PatientID": "id-77", "PatientBirthDate": "19700131"}
    study = tmp_path / "study"
    study.mkdir()
    save_series(study, phantom.ct, change=changed(**patient, StudyDate="20260301"))
    write_labels(tmp_path / "labels.nii.gz", phantom.labels, phantom.ct)
    folder = tmp_path / "result"
    assert run(capsys, "measure", study, tmp_path / "labels.nii.gz", "-o", folder).code == 0
    assert run(capsys, "report", folder, "--ct", study).code == 0
    words = ("Doe, Jane", "id-77", "1970-01-31", "2026-03-01")
    plain = (folder / "report.html").read_text(encoding="utf-8")
    assert not any(word in plain for word in (*words, "Doe^Jane", "19700131"))
    asked = run(capsys, "report", folder, "--ct", study, "--with-patient", "--overwrite")
    assert asked.code == 0
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert all(word in page.text for word in words)
    assert not any(word in asked.out + asked.err for word in words)


def test_the_demo_is_reported_without_naming_its_ct(
    phantom: Phantom, case: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = case
    write_ct(folder / "phantom_ct.nii.gz", phantom.ct)
    assert run(capsys, "report", folder).code == 0


def test_targets_are_the_two_longest_measurable_and_plausible_ones() -> None:
    def lesion(number: int, longest_mm: float, implausible: str | None = None) -> Lesion:
        place = (0.0, 0.0, 0.0)
        return Lesion(number, 1.0, longest_mm, 5.0, place, 3, 40.0, 9, implausible=implausible)

    many = [lesion(1, 12), lesion(2, 30), lesion(3, 9.9), lesion(4, 25), lesion(5, 40, "fat")]
    assert [one.number for one in propose_targets(many, slice_mm=2.5)] == [2, 4]
    assert [one.number for one in propose_targets(many[:1] + many[2:3], slice_mm=5.0)] == [1]
    assert propose_targets(many[:1], slice_mm=8.0) == ()  # under two slices of 8 mm
    assert propose_targets([], slice_mm=1.0) == ()


def test_a_case_without_liver_or_lesion_gives_a_page(phantom: Phantom) -> None:
    for labels, sentence in (
        (np.zeros_like(phantom.labels), "No liver was found"),
        (np.minimum(phantom.labels, 1), "No tumor was found"),
    ):
        checked = check(phantom.ct, labels, by_model=False)
        empty = StoredResult(phantom.ct, labels, checked.measures, checked.warnings)
        (default,) = (entry for entry in shipped_models() if entry.default)
        text = Page(render_report(empty, model=default, today=DAY)).text
        assert sentence in text
        if labels.any():
            found, true = default.large_lesions_found or (0, 0)
            assert 0.8 * true <= found <= true == 71
            assert f"this model finds {found} of {true} lesions of 10 mm and more" in text


@pytest.mark.slow
def test_a_browser_prints_eight_lesions_on_two_pages(tmp_path: Path) -> None:
    """On A4 and on Letter, and draws the page on a screen."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    phantom = make_phantom(
        seed=7, shape_kji=(36, 160, 160), spacing_kji_mm=(8.0, 2.5, 2.5), n_tumors=8
    )
    result = stored(phantom, ("The slices are 8.0 mm apart.", "The scan looks arterial."))
    assert len(result.measures.lesions) == 8
    html = render_report(result, reader="A. Reader", model=shipped_models()[0], today=DAY)
    for size in ("A4", "letter"):
        page = tmp_path / f"{size}.html"
        page.write_text(html.replace("@page {", f"@page {{ size: {size};"), encoding="utf-8")
        printed = tmp_path / f"{size}.pdf"
        browse(browser, tmp_path, page, f"--print-to-pdf={printed}", "--no-pdf-header-footer")
        assert len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes())) == 2
    shot = tmp_path / "shot.png"
    browse(browser, tmp_path, page, f"--screenshot={shot}", "--window-size=900,1600")
    seen = cv2.imread(str(shot))
    assert seen.shape == (1600, 900, 3)
    assert 100 < seen.mean() < 250


def browse(browser: str, home: Path, page: Path, *options: str) -> None:
    """A browser without a window and of its own home, on one page."""
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home / 'browser'}")
    subprocess.run(
        [browser, *quiet, *options, page.as_uri()], check=True, capture_output=True, timeout=240
    )
