"""The result in one line and its tumors as a table: a click on one shows it in all slice views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import qt
import slicer
from LiverTumorSegLib.model.catalog import ModelEntry
from LiverTumorSegLib.result.lesions import LiverMeasures
from LiverTumorSegLib.result.parts import PartMeasures
from slicer.i18n import tr as _

from LiverTumorSegSlicer.run.sentences import translated, translatedError
from LiverTumorSegSlicer.scene.geometry import isInScene, worldIjkToRas
from LiverTumorSegSlicer.scene.lesion_measures import MeasuredLesion
from LiverTumorSegSlicer.scene.nodes import resultRecord
from LiverTumorSegSlicer.scene.segments import rolesOf

from .dialogs import Questions
from .lesion_table import LesionRow, LesionTable, confidenceMeaning, headers
from .models import recallText

MOST_ROWS_SHOWN = 6  # then the table scrolls
HEADER_LINES = 2
CONFIDENCE_COLUMN, SEGMENT_COLUMN, REVIEW_COLUMN, PART_COLUMN = 5, 6, 7, 8
FRAME = 8  # pixels around the header's text and the table
CSV_FILTER = "CSV (*.csv)"


class LesionPanel:
    """Shows one segmentation on one CT, measured again after every edit."""

    def __init__(
        self, ui: Any, questions: Questions, modelNamed: Callable[[str], ModelEntry | None]
    ) -> None:
        """modelNamed: the installed model of a name, for what is known of it.

        ``onChanged``, to be set: other lesions are shown, or another one is selected.
        """
        self._ui, self._questions, self._modelNamed = ui, questions, modelNamed
        self.onChanged: Callable[[], None] = lambda: None
        self._table: LesionTable | None = None
        self._segmentationNode: Any = None
        self.parts: PartMeasures | None = None
        self._setUpTable()
        ui.lesionTable.connect("cellClicked(int,int)", self._onClicked)
        ui.lesionTable.connect("currentCellChanged(int,int,int,int)", self._onClicked)
        ui.copyTableButton.connect("clicked(bool)", self._copy)
        ui.saveTableButton.connect("clicked(bool)", self._save)
        self.hide()

    @property
    def selectedSegmentId(self) -> str:
        """The segment of the tumor that is selected in the table; empty without one."""
        row = self._rowAt(self.selectedRow)
        return row.segmentId if row else ""

    @property
    def selectedRow(self) -> int:
        """The row that is selected; -1 without one."""
        return int(self._ui.lesionTable.currentRow())

    @property
    def selected(self) -> MeasuredLesion | None:
        """The lesion that is selected in the table."""
        row = self._rowAt(self.selectedRow)
        return self._table.lesions[self.selectedRow] if row and self._table else None

    @property
    def rows(self) -> tuple[LesionRow, ...]:
        """The lesions that are shown."""
        return self._table.rows if self._table is not None else ()

    @property
    def lesions(self) -> tuple[MeasuredLesion, ...]:
        """The lesion of each row."""
        return self._table.lesions if self._table is not None else ()

    @property
    def measures(self) -> LiverMeasures | None:
        """The numbers that are shown, another object after each measuring."""
        return self._table.measures if self._table is not None else None

    @property
    def nodes(self) -> tuple[Any, Any]:
        """The segmentation that is shown and its CT; None where there is none."""
        return self._segmentationNode, self._table.volumeNode if self._table else None

    @property
    def isMeasured(self) -> bool:
        """Whether a segmentation is shown with numbers."""
        return self.measures is not None

    def select(self, row: int) -> None:
        """Select a lesion, which the views then show."""
        if 0 <= row < len(self.rows):
            self._ui.lesionTable.setCurrentCell(row, 0)

    def setParts(self, parts: PartMeasures | None) -> None:
        """Show in which liver part each lesion lies; a column that is there only with parts."""
        self.parts = parts
        partOfLesion = parts.part_of_lesion if parts else {}
        if self._table is None:
            return
        self._table.setParts(partOfLesion)
        table = self._ui.lesionTable
        for number, row in enumerate(self.rows):
            table.item(number, PART_COLUMN).setText(row.cells()[PART_COLUMN])
        table.setColumnHidden(PART_COLUMN, not partOfLesion)

    def selectAt(self, maskKji: np.ndarray) -> None:
        """Select the lesion whose point is in a mask on the CT's grid."""
        if self._table is None:
            return
        rasToIjk = np.linalg.inv(worldIjkToRas(self._table.volumeNode))
        for number, row in enumerate(self.rows):
            k, j, i = np.rint(rasToIjk @ [*row.pointRasMm, 1.0])[2::-1].astype(int)
            if maskKji[k, j, i]:
                self.select(number)
                return

    def measureAgain(self, row: int | None) -> None:
        """Measure now, not when the hand rests, and select a row; None: none."""
        if self._table is None:
            return
        try:
            self._table.compute()
        except ValueError as error:
            self._fill(translatedError(error), ())
            return
        self._showTable()
        if row is not None:
            self.select(row)

    def show(self, segmentationNode: Any, volumeNode: Any) -> None:
        """Measure and show; nothing is shown of a segmentation without liver and tumor."""
        self.hide()
        if not isInScene(segmentationNode) or not rolesOf(segmentationNode.GetSegmentation()):
            return
        self._ui.resultCollapsibleButton.setVisible(True)
        self._segmentationNode = segmentationNode
        if not isInScene(volumeNode):
            text = _("The CT of this segmentation is not in the scene; load it to measure.")
            self._fill(text, ())
            return
        self._table = LesionTable(segmentationNode, volumeNode, onChanged=self._showTable)
        try:
            self._table.compute()
        except ValueError as error:
            self._fill(translatedError(error), ())
        else:
            self._showTable()

    def showFirst(self) -> None:
        """Select the largest tumor, which the views then show."""
        self.select(0)

    def hide(self) -> None:
        """Show nothing, and stop watching for edits."""
        if self._table is not None:
            self._table.cleanUp()
        self._table, self._segmentationNode = None, None
        self._ui.resultCollapsibleButton.setVisible(False)
        self.onChanged()

    def _setUpTable(self) -> None:
        table = self._ui.lesionTable
        sizes = (_("Volume\n(mL)"), _("Long\n(mm)"), _("Perp.\n(mm)"))
        columns = ["#", *sizes, _("S\n(mm)"), _("Conf.\n(%)"), _("Segment"), _("Review"), _("Part")]
        table.columnCount = len(columns)
        table.setHorizontalHeaderLabels(columns)
        for column, name in enumerate(headers()):
            isConfidence = column == CONFIDENCE_COLUMN
            toolTip = confidenceMeaning() if isConfidence else name
            table.horizontalHeaderItem(column).setToolTip(toolTip)
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.verticalHeader().setVisible(False)

    def _showTable(self) -> None:
        table = self._table
        if table is None:
            return
        if table.measures is None:
            self._fill(table.problem, ())
        else:
            self._fill(resultText(table.measures), table.rows)

    def _fill(self, text: str, rows: Sequence[LesionRow]) -> None:
        ui = self._ui
        record = resultRecord(self._segmentationNode)
        ui.resultLabel.text = text
        ui.resultLabel.toolTip = _resultToolTip(record)
        texts = record.get("warnings", [])
        said = record.get("said", []) or [None] * len(texts)  # a run of an earlier version has none
        warnings = "\n".join(translated(*one) for one in zip(said, texts, strict=False))
        name = (record.get("model") or {}).get("model")
        ui.recallLabel.text = recallText(self._modelNamed(name)) if name else ""
        ui.recallLabel.setVisible(bool(name))
        ui.warningsLabel.text = warnings
        ui.warningsLabel.setVisible(bool(warnings))
        self._fillTable(rows)
        for button in (ui.copyTableButton, ui.saveTableButton):
            button.enabled = self.isMeasured
        self.onChanged()

    def _fillTable(self, rows: Sequence[LesionRow]) -> None:
        table = self._ui.lesionTable
        table.blockSignals(True)  # filling is no click
        table.rowCount = len(rows)
        for number, row in enumerate(rows):
            for column, text in enumerate(row.cells()):
                item = qt.QTableWidgetItem(text)
                isNumber = column < SEGMENT_COLUMN
                side = qt.Qt.AlignRight if isNumber else qt.Qt.AlignLeft
                item.setTextAlignment(side | qt.Qt.AlignVCenter)
                if row.implausible:
                    reason = _("Hardly a liver tumor: {reason}.")
                    item.setToolTip(reason.format(reason=row.implausible))
                table.setItem(number, column, item)
        hasConfidence = any(row.confidence is not None for row in rows)
        table.setColumnHidden(CONFIDENCE_COLUMN, not hasConfidence)
        table.setColumnHidden(SEGMENT_COLUMN, len({row.segmentName for row in rows}) < 2)
        table.setColumnHidden(REVIEW_COLUMN, not any(row.review for row in rows))
        table.setColumnHidden(PART_COLUMN, not any(row.part for row in rows))
        table.clearSelection()
        table.setCurrentCell(-1, -1)
        table.blockSignals(False)
        table.setVisible(bool(rows))
        line = table.fontMetrics().height()
        rowHeight = table.verticalHeader().defaultSectionSize
        shown = min(len(rows), MOST_ROWS_SHOWN)
        table.setFixedHeight(HEADER_LINES * line + FRAME + shown * rowHeight)

    def _rowAt(self, number: int) -> LesionRow | None:
        return self.rows[number] if 0 <= number < len(self.rows) else None

    def _onClicked(self, number: int) -> None:
        row = self._rowAt(number)
        if row is not None and self._table is not None:
            self._table.jumpTo(row)
        self.onChanged()

    def _copy(self) -> None:
        if not self.isMeasured:
            return
        text = f"{resultText(self._table.measures)}\n{self._table.toText()}"
        slicer.app.clipboard().setText(text)
        slicer.util.showStatusMessage(_("The table was copied."), 3000)

    def _save(self) -> None:
        if self._table is None:
            return
        name = f"{self._segmentationNode.GetName()}.csv"
        path = self._questions.savePath(_("Save table"), name, CSV_FILTER)
        if path is None:
            return
        try:
            self._table.saveCsv(path, overwrite=True)  # the dialog has asked
        except ValueError as error:
            self._questions.showFailure(translatedError(error))


def resultText(measures: LiverMeasures) -> str:
    """The case in one line."""
    if not measures.liver_volume_ml:
        return _("No liver found.")
    liver = _("Liver {volume} mL").format(volume=f"{measures.liver_volume_ml:.0f}")
    count = len(measures.lesions)
    if not count:
        return _("{liver}, no tumor found.").format(liver=liver)
    tumors = _("{count} tumors") if count > 1 else _("{count} tumor")
    parts = [liver, f"{tumors.format(count=count)} {_milliliters(measures.tumor_volume_ml)}"]
    if measures.burden_percent is not None:
        parts.append(_("burden {percent} %").format(percent=f"{measures.burden_percent:.1f}"))
    return ", ".join(parts)


def _milliliters(volumeMl: float) -> str:
    digits = 1 if volumeMl >= 10 else 2  # as in the table
    return _("{volume} mL").format(volume=f"{volumeMl:.{digits}f}")


def _resultToolTip(record: dict[str, Any]) -> str:
    text = _("The liver is counted with its tumors; burden is the tumors' share of it.")
    model = record.get("model") or {}
    if not model.get("model"):
        return text
    made = _("Segmented by {model} {version}.")
    return f"{text}\n{made.format(model=model['model'], version=model.get('version', ''))}"
