"""The lesions as rows: shown, jumped to, copied, saved, and measured again after every edit.

    table = LesionTable(segmentationNode, volumeNode, onChanged=refresh)
    table.compute()
    table.rows[0].cells()
    table.jumpTo(table.rows[0])
    table.cleanUp()

Numbers are those of ``lesion_measures``; a row knows its segment and a point inside the lesion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import qt
import slicer
from LiverTumorSegLib.result.lesions import LESION_COLUMNS, Lesion, LiverMeasures, lesion_rows
from LiverTumorSegLib.tables import csv_text
from slicer.i18n import tr as _

from LiverTumorSegSlicer.run.sentences import translatedError
from LiverTumorSegSlicer.scene.file_writing import refuseExisting, writeWhole
from LiverTumorSegSlicer.scene.lesion_measures import MeasuredLesion, measureSegments
from LiverTumorSegSlicer.scene.nodes import resultRecord
from LiverTumorSegSlicer.scene.review import ACCEPTED, ADDED, REJECTED, reviewOf

from .views import DiameterLines, Line, Point, showPoint

DEBOUNCE_MS = 400
UNKNOWN = "-"
DOUBTFUL = " ?"  # behind the number of what is hardly a tumor
SAME = {"volume_ml": 1e-3, "longest_axial_diameter_mm": 0.02, "perpendicular_diameter_mm": 0.02}
NOTICE = "For research only, not for diagnosis."


class Delay(Protocol):
    """Calls a function once, some time after the last ``start``."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def cleanUp(self) -> None: ...


class QtDelay:
    """:class:`Delay` by Qt's timer, on the main thread."""

    def __init__(self, function: Callable[[], None], milliseconds: int = DEBOUNCE_MS) -> None:
        self._function = function
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(milliseconds)
        self._timer.connect("timeout()", self._function)

    def start(self) -> None:
        """Start the delay; one that was running begins anew."""
        self._timer.start()

    def stop(self) -> None:
        """Do not call it."""
        self._timer.stop()

    def cleanUp(self) -> None:
        """Let the timer go, not at once: it may be the caller."""
        self._timer.stop()
        self._timer.disconnect("timeout()", self._function)
        self._timer.deleteLater()


def headers() -> tuple[str, ...]:
    """The table's column headers."""
    return (
        _("Lesion"),
        _("Volume (mL)"),
        _("Longest axial (mm)"),
        _("Perpendicular (mm)"),
        _("S (mm)"),
        _("Confidence (%)"),
        _("Segment"),
        _("Review"),
        _("Liver part"),
    )


def reviewText(review: str) -> str:
    """A reader's verdict on a lesion, as the table shows it."""
    texts = {ACCEPTED: _("accepted"), REJECTED: _("rejected"), ADDED: _("added")}
    return texts.get(review, _("new"))


def confidenceMeaning() -> str:
    """The tooltip of the column Confidence."""
    return _(
        "Confidence: the share of this tumor's voxels expected to be tumor, by the model's own"
        " probability as calibrated on its validation patients; what was drawn by hand does not"
        " count, and - means that it is not known."
    )


@dataclass(frozen=True)
class LesionRow:
    """One lesion.

    pointRasMm: a point in it, on the slice of its diameters. diametersRasMm: both ends of the
    longest, then of the one across it.

    confidence: 0 to 1, as :func:`confidenceMeaning` says; None when it is not known.
    implausible: why the run took it for hardly a tumor; None once it was edited.
    review: as of ``scene.review``.
    part: the liver part that holds most of it; empty as long as none is known.
    """

    number: int
    volumeMl: float
    longestMm: float
    perpendicularMm: float
    confidence: float | None
    implausible: str | None
    segmentId: str
    segmentName: str
    review: str
    pointRasMm: Point
    diametersRasMm: tuple[Line, ...]
    part: str = ""

    def cells(self) -> tuple[str, ...]:
        """The row's cells as text, in the order of :func:`headers`."""
        return (
            f"{self.number}{DOUBTFUL}" if self.implausible else str(self.number),
            f"{self.volumeMl:.2f}" if self.volumeMl < 10 else f"{self.volumeMl:.1f}",
            f"{self.longestMm:.1f}",
            f"{self.perpendicularMm:.1f}",
            placeText(self.pointRasMm),
            UNKNOWN if self.confidence is None else f"{100 * self.confidence:.0f}",
            self.segmentName,
            reviewText(self.review),
            self.part or UNKNOWN,
        )


def placeText(pointRasMm: Point) -> str:
    """A lesion's height in the patient as the axial view's slider shows it: + toward the head."""
    return f"{pointRasMm[2]:+.1f}"


def _withReason(lesion: Lesion, checked: list[dict[str, Any]]) -> Lesion:
    """With what the run's own record says against it, as long as it is as the run has left it."""
    same = (
        row
        for row in checked
        if all(abs(row[key] - getattr(lesion, key)) <= most for key, most in SAME.items())
    )
    return replace(lesion, implausible=next(same, {}).get("implausible"))


class LesionTable:
    """The lesions of one segmentation on one CT.

    onChanged: called after each measuring that an edit set off, never by :meth:`compute` itself.
    makeDelay: makes what waits for the end of an edit; Qt's timer unless another is handed in.
    problem: why the last measuring after an edit failed, one sentence; else empty.
    """

    def __init__(
        self,
        segmentationNode: Any,
        volumeNode: Any,
        *,
        onChanged: Callable[[], None] | None = None,
        makeDelay: Callable[[Callable[[], None]], Delay] = QtDelay,
    ) -> None:
        self._segmentationNode = segmentationNode
        self.volumeNode = volumeNode
        self._onChanged = onChanged
        self._delay = makeDelay(self._measureAgain)
        self._observed: list[tuple[Any, int]] = []
        self._highlight = Highlight()
        self._lines = DiameterLines()
        self.measures: LiverMeasures | None = None
        self.rows: tuple[LesionRow, ...] = ()
        self.lesions: tuple[MeasuredLesion, ...] = ()  # of each row
        self.problem = ""
        self._observe()

    @property
    def segmentIds(self) -> tuple[str, ...]:
        """The segment of each row."""
        return tuple(row.segmentId for row in self.rows)

    def compute(self) -> LiverMeasures:
        """Measure now. Raises ``ValueError`` when a node is gone; the rows are then empty."""
        if self._observed:
            self._delay.stop()
        self._lines.hide()  # they are of what was measured before
        self.measures, self.rows, self.lesions, self.problem = None, (), (), ""
        measures, found = measureSegments(self._segmentationNode, self.volumeNode)
        checked = resultRecord(self._segmentationNode).get("lesions", [])
        lesions = tuple(replace(one, lesion=_withReason(one.lesion, checked)) for one in found)
        self.measures = replace(measures, lesions=tuple(one.lesion for one in lesions))
        self.rows = tuple(self._row(measured) for measured in lesions)
        self.lesions = lesions
        return self.measures

    def setParts(self, partOfLesion: Mapping[int, str]) -> None:
        """Say in which liver part lesions lie, by their numbers, until they are measured again."""
        self.rows = tuple(replace(row, part=partOfLesion.get(row.number, "")) for row in self.rows)

    def jumpTo(self, row: LesionRow) -> None:
        """Show a lesion in all slice views, with its diameters and the crosshair."""
        showPoint(row.pointRasMm)
        self._lines.show(row.diametersRasMm)
        self._highlight.show(row.pointRasMm)

    def toText(self) -> str:
        """Tab-separated, with headers, for the clipboard and a spreadsheet."""
        lines = [headers(), *(row.cells() for row in self.rows), (NOTICE,)]
        return "\n".join("\t".join(line) for line in lines) + "\n"

    def saveCsv(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the rows as CSV, whole or not at all, with all columns that a run's table has.

        Raises ``ValueError`` when the file is there and may not be replaced, or on a full disk.
        """
        target = Path(path)
        refuseExisting(target, overwrite)
        writeWhole(target, self._writeCsv)

    def cleanUp(self) -> None:
        """Stop watching the scene and put the crosshair back. The rows stay."""
        if not self._observed:
            return
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []
        self._delay.cleanUp()
        self._highlight.hide()
        self._lines.hide()

    def _writeCsv(self, path: Path) -> None:
        values = [] if self.measures is None else lesion_rows(self.measures)
        lines = (
            {
                **value,
                "segment": row.segmentName,
                "review": row.review or "new",
                "liver_part": row.part,
                **self._case(),
            }
            for value, row in zip(values, self.rows, strict=True)
        )
        columns = [*LESION_COLUMNS, "segment", "review", "liver_part", *self._case()]
        text = csv_text(columns, lines, "\r\n")
        path.write_text(text, encoding="utf-8", newline="")

    def _case(self) -> dict[str, Any]:
        """What is the same in every row: a table may be all that is left of a case."""
        measures, record = self.measures, resultRecord(self._segmentationNode)
        model = record.get("model") or {}
        return {
            "ct": self.volumeNode.GetName(),
            "liver_volume_ml": round(measures.liver_volume_ml, 4) if measures else None,
            "burden_percent": round(measures.burden_percent or 0.0, 4) if measures else None,
            "model": model.get("model"),
            "model_version": model.get("version"),
            "date": date.today().isoformat(),
            "notice": NOTICE,
        }

    def _row(self, measured: MeasuredLesion) -> LesionRow:
        lesion = measured.lesion
        segment = self._segmentationNode.GetSegmentation().GetSegment(measured.segmentId)
        return LesionRow(
            number=lesion.number,
            volumeMl=lesion.volume_ml,
            longestMm=lesion.longest_axial_diameter_mm,
            perpendicularMm=lesion.perpendicular_diameter_mm,
            confidence=lesion.confidence,
            implausible=lesion.implausible,
            segmentId=measured.segmentId,
            segmentName=segment.GetName(),
            review=reviewOf(segment),
            pointRasMm=measured.pointRasMm,
            diametersRasMm=lesion.diameter_lines_ras_mm,
        )

    def _observe(self) -> None:
        """Edits, and transforms that move or scale the patient."""
        segmentation = slicer.vtkSegmentation
        transformed = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        watched = [
            (self._segmentationNode, segmentation.SourceRepresentationModified),
            (self._segmentationNode, segmentation.SegmentAdded),
            (self._segmentationNode, segmentation.SegmentRemoved),
            (self._segmentationNode, segmentation.SegmentModified),
            (self._segmentationNode, transformed),
            (self.volumeNode, transformed),
            (self.volumeNode, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent),
        ]
        for node, event in watched:
            self._observed.append((node, node.AddObserver(event, self._onEdited)))

    def _onEdited(self, _caller: Any, _event: str) -> None:
        """One stroke of a brush is many events, and drawing many strokes: measure after them."""
        self._delay.start()

    def _measureAgain(self) -> None:
        try:
            self.compute()
        except ValueError as error:  # a node is gone, or a transform bends space
            self.problem = translatedError(error)
        if self._onChanged:
            self._onChanged()


class Highlight:
    """Slicer's own crosshair on a point; hidden again as it was found."""

    def __init__(self) -> None:
        self._modeBefore: int | None = None

    def show(self, pointRasMm: tuple[float, float, float]) -> None:
        """Put the crosshair there, and make it visible when it is not."""
        crosshair = _crosshairNode()
        if crosshair is None:
            return
        crosshair.SetCrosshairRAS(*pointRasMm)
        if crosshair.GetCrosshairMode() == crosshair.NoCrosshair:
            self._modeBefore = crosshair.NoCrosshair
            crosshair.SetCrosshairMode(crosshair.ShowSmallBasic)

    def hide(self) -> None:
        """Hide the crosshair, if :meth:`show` made it visible and nobody changed it since."""
        crosshair = _crosshairNode()
        if crosshair is None or self._modeBefore is None:
            return
        if crosshair.GetCrosshairMode() == crosshair.ShowSmallBasic:
            crosshair.SetCrosshairMode(self._modeBefore)
        self._modeBefore = None


def _crosshairNode() -> Any:
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
