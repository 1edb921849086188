"""One page to read, print and file: ``report.html``, which needs no other file and no network.

    html = render_report(stored, reader="", patient=None, model=model_entry(stored))

Pictures are in it as JPEG; there is no script, and all text is escaped. The reader's own ticks add
up without one: CSS counts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from LiverTumorSegLib import __version__
from LiverTumorSegLib.model.catalog import ModelEntry, installed_models
from LiverTumorSegLib.model.spec import BundleError

from .files import NOTICE
from .followup.page import ComparisonPage
from .lesions import CONFIDENCE_MEANING, Lesion
from .overview.key_image import draw_key_image, jpeg_uri
from .overview.page import draw_whole_liver
from .overview.panel import milliliters
from .overview.scene import OverviewScene, turned_slice
from .recist import MOST_TARGETS, least_target_mm, propose_targets
from .stored import StoredResult

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")
NOT_REVIEWED = "not reviewed"


@dataclass(frozen=True)
class LesionEntry:
    """A lesion as the report shows it, numbers as text."""

    number: int
    volume_ml: str
    longest_mm: int
    perpendicular_mm: int
    slice_index: int
    height_mm: str
    mean_hu: str
    confidence: str
    review: str
    remark: str
    is_target: bool
    part: str
    image: str


@dataclass(frozen=True)
class PartEntry:
    """A part of the liver as the report shows it."""

    name: str
    volume_ml: str
    without_tumor_ml: str
    share: str


@dataclass(frozen=True)
class ReportContent:
    """All that the template shows. patient: label -> value, empty unless asked for."""

    reader: str
    patient: Mapping[str, str]
    date: str
    liver_ml: str
    tumor_ml: str
    burden: str
    lesions: list[LesionEntry]
    least_target_mm: int
    most_targets: int
    slice_axis: str
    warnings: list[str]
    model: str
    sha256: list[str]
    scores: Mapping[str, str]
    recall: str
    scan: str
    run: str
    labels: str
    whole_liver: str
    made_with: str
    comparison: ComparisonPage | None
    parts: list[PartEntry]
    in_no_part_ml: str
    notice: str = NOTICE
    confidence_meaning: str = CONFIDENCE_MEANING

    @property
    def found_liver(self) -> bool:
        return self.liver_ml != "0"

    @property
    def longest_mm(self) -> int:
        return max(lesion.longest_mm for lesion in self.lesions)

    @property
    def has_confidence(self) -> bool:
        return any(lesion.confidence for lesion in self.lesions)

    @property
    def has_remarks(self) -> bool:
        return any(lesion.remark for lesion in self.lesions)

    @property
    def targets(self) -> list[LesionEntry]:
        return [lesion for lesion in self.lesions if lesion.is_target]


def render_report(
    stored: StoredResult,
    *,
    reader: str = "",
    patient: Mapping[str, str] | None = None,
    model: ModelEntry | None = None,
    today: date | None = None,
    comparison: ComparisonPage | None = None,
) -> str:
    """The page as text of one HTML file.

    reader: a name to be printed; empty leaves a line to sign on. patient: label -> value, where
    somebody asked for them. model: what is known of it, as :func:`model_entry` gives it.
    comparison: with an earlier date, for a page of its own.
    """
    content = replace(
        _content(stored, reader, patient or {}, model, today or date.today()),
        comparison=comparison,
    )
    return environment().get_template("report.html.jinja").render(r=content)


def model_entry(stored: StoredResult, folder: Path | None = None) -> ModelEntry | None:
    """The model of a result; None for one in no catalog. folder: where imported models lie."""
    name, version = stored.model.get("model"), stored.model.get("version")
    try:
        entries = installed_models(folder)
    except BundleError:  # somebody else's broken model does not concern this report
        entries = ()
    found = (entry for entry in entries if (entry.name, entry.version) == (name, version))
    return next(found, None)


def environment() -> Environment:
    """Jinja as reports use it: everything escaped, and what is not there is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _content(
    stored: StoredResult,
    reader: str,
    patient: Mapping[str, str],
    model: ModelEntry | None,
    today: date,
) -> ReportContent:
    measures = stored.measures
    burden = measures.burden_percent
    case = OverviewScene.of(stored.ct, stored.labels_kji, None, measures)
    slice_mm = case.ct.spacing_kji_mm[0]
    return ReportContent(
        reader=reader,
        patient=patient,
        date=today.isoformat(),
        liver_ml=milliliters(measures.liver_volume_ml),
        tumor_ml=milliliters(measures.tumor_volume_ml),
        burden="-" if burden is None else f"{burden:.1f}",
        lesions=_lesion_entries(stored, case),
        least_target_mm=round(least_target_mm(slice_mm)),
        most_targets=MOST_TARGETS,
        slice_axis=measures.slice_axis,
        warnings=list(stored.warnings),
        model=_model_name(stored),
        sha256=_hashes(stored),
        scores=_scores(model),
        recall=model.recall if model else "",
        scan=_scan_line(case),
        run=_run_line(stored),
        labels=_labels_line(stored),
        whole_liver=jpeg_uri(draw_whole_liver(case)),
        made_with=f"LiverTumorSeg {__version__}",
        comparison=None,
        parts=_part_entries(stored),
        in_no_part_ml=milliliters(stored.parts.in_no_part_ml) if stored.parts else "",
    )


def _part_entries(stored: StoredResult) -> list[PartEntry]:
    return [
        PartEntry(
            name=part.name,
            volume_ml=milliliters(part.volume_ml),
            without_tumor_ml=milliliters(part.without_tumor_ml),
            share="-" if part.share_percent is None else f"{part.share_percent:.1f}",
        )
        for part in (stored.parts.parts if stored.parts else ())
    ]


def _scores(model: ModelEntry | None) -> dict[str, str]:
    """What the model's own test found, of lesions first."""
    scores = {str(key): str(value) for key, value in model.scores.items()} if model else {}
    return dict(sorted(scores.items(), key=lambda score: "lesions" not in score[0]))


def _lesion_entries(stored: StoredResult, case: OverviewScene) -> list[LesionEntry]:
    rejected = {
        lesion.number
        for lesion, review in zip(stored.measures.lesions, stored.review, strict=True)
        if review == "rejected"
    }
    fit = [lesion for lesion in stored.measures.lesions if lesion.number not in rejected]
    targets = propose_targets(fit, case.ct.spacing_kji_mm[0])
    held = stored.parts.part_of_lesion if stored.parts else {}
    return [
        _lesion_entry(
            case, lesion, review, is_target=lesion in targets, part=held.get(lesion.number, "")
        )
        for lesion, review in zip(stored.measures.lesions, stored.review, strict=True)
    ]


def _lesion_entry(
    case: OverviewScene, lesion: Lesion, review: str, *, is_target: bool, part: str
) -> LesionEntry:
    k = turned_slice(lesion.slice_index, case.turn)
    sure = "" if lesion.confidence is None else f"{100 * lesion.confidence:.0f} %"
    return LesionEntry(
        number=lesion.number,
        volume_ml=milliliters(lesion.volume_ml),
        longest_mm=round(lesion.longest_axial_diameter_mm),
        perpendicular_mm=round(lesion.perpendicular_diameter_mm),
        slice_index=lesion.slice_index,
        height_mm=f"{round(case.superior_mm(k)):+d}",
        mean_hu="-" if lesion.mean_hu is None else f"{lesion.mean_hu:.0f}",
        confidence=sure,
        review=review or NOT_REVIEWED,
        remark=lesion.implausible or "",
        is_target=is_target,
        part=part,
        image=jpeg_uri(draw_key_image(case, lesion)),
    )


def _model_name(stored: StoredResult) -> str:
    return f"{stored.model['model']}, version {stored.model['version']}" if stored.model else ""


def _hashes(stored: StoredResult) -> list[str]:
    """SHA-256 of the model's file, or of the files of a cascade."""
    stages = stored.model.get("stages") or {}
    several = [stage.get("sha256") for stage in stages.values() if isinstance(stage, Mapping)]
    found = [value for value in several if value] or [stored.model.get("sha256")]
    return [str(value) for value in found if value]


def _scan_line(case: OverviewScene) -> str:
    k, j, i = case.ct.shape_kji
    k_mm, j_mm, i_mm = case.ct.spacing_kji_mm
    return f"{k} axial slices {k_mm:.2f} mm apart, {i} x {j} pixels of {i_mm:.2f} x {j_mm:.2f} mm"


def _run_line(stored: StoredResult) -> str:
    run = stored.record.get("run") or {}
    return f"{run['seconds']:.0f} s on {run['device']}" if {"seconds", "device"} <= set(run) else ""


def _labels_line(stored: StoredResult) -> str:
    rejected = len(stored.record.get("rejected") or ())
    taken_out = f"; {rejected} of the model's marks were rejected and taken out" if rejected else ""
    if stored.edited:
        return f"changed by somebody after the run, and measured anew for this report{taken_out}"
    if stored.model:
        return "as the model made them"
    return "a label map of unknown origin, measured"
