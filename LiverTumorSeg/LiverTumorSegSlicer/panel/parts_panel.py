"""Liver parts from another segmentation: where each tumor lies, and how large each part is."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from LiverTumorSegLib.result.lesions import LiverMeasures
from LiverTumorSegLib.result.parts import LiverPart, PartMeasures
from slicer.i18n import tr as _

from LiverTumorSegSlicer.run.sentences import translatedError
from LiverTumorSegSlicer.scene.liver_parts import measureParts

from .lesion_panel import FRAME, LesionPanel
from .lesion_table import UNKNOWN, QtDelay

OUTSIDE_ML = 1.0  # of parts beside the liver, from which on it is said
MOST_ROWS_SHOWN = 9  # eight segments, and what is in none


class PartsPanel:
    """The selector of another segmentation, the small table, and a column of the tumors' table."""

    def __init__(self, ui: Any, lesions: LesionPanel) -> None:
        self._ui, self._lesions = ui, lesions
        self._shown: tuple[Any, LiverMeasures | None] = (None, None)
        self._watched: tuple[Any, list[int]] = (None, [])
        self._delay = QtDelay(self._measureAgain)
        self._setUpTable()
        ui.partsSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onChosen)
        self.update()

    def update(self) -> None:
        """Measure what is new: other numbers of the tumors, or other parts."""
        every = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        isSecond = sum(not node.GetHideFromEditors() for node in every) > 1
        self._ui.partsSelector.setVisible(isSecond)
        node = self._ui.partsSelector.currentNode() if isSecond else None
        if node is self._lesions.nodes[0]:
            node = None
        state = (node, self._lesions.measures)
        if state[0] is self._shown[0] and state[1] is self._shown[1]:
            return
        self._shown = state
        self._watch(node)
        self._measure(node)

    def cleanUp(self) -> None:
        """The panel goes."""
        self._watch(None)
        self._delay.cleanUp()

    def _setUpTable(self) -> None:
        table = self._ui.partsTable
        names = [_("Part"), _("Volume\n(mL)"), _("Without tumor\n(mL)"), _("Share\n(%)")]
        table.columnCount = len(names)
        table.setHorizontalHeaderLabels(names)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.verticalHeader().setVisible(False)

    def _onChosen(self, _node: Any) -> None:
        self.update()

    def _watch(self, node: Any) -> None:
        """Edits of the parts count as those of the tumors do: when the hand rests."""
        before, tags = self._watched
        if before is node:
            return
        for tag in tags:
            before.RemoveObserver(tag)
        self._delay.stop()
        segmentation = slicer.vtkSegmentation
        events = (
            segmentation.SourceRepresentationModified,
            segmentation.SegmentAdded,
            segmentation.SegmentRemoved,
            segmentation.SegmentModified,
            slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
        )
        observed = [node.AddObserver(event, self._onEdited) for event in events] if node else []
        self._watched = (node, observed)

    def _onEdited(self, _caller: Any, _event: str) -> None:
        self._delay.start()

    def _measureAgain(self) -> None:
        self._shown = (None, None)
        self.update()

    def _measure(self, node: Any) -> None:
        if node is None or not self._lesions.isMeasured:
            self._fill(None, "")
            return
        try:
            with slicer.util.WaitCursor():
                measured = measureParts(node, *self._lesions.nodes, self._lesions.lesions)
        except ValueError as error:
            self._fill(None, translatedError(error))
            return
        self._fill(measured, _noteOn(measured, node.GetName()))

    def _fill(self, measured: PartMeasures | None, note: str) -> None:
        self._ui.partsLabel.text = note
        self._ui.partsLabel.setVisible(bool(note))
        self._lesions.setParts(measured)
        rows = _rowsOf(measured) if measured else []
        table = self._ui.partsTable
        table.rowCount = len(rows)
        for number, row in enumerate(rows):
            for column, text in enumerate(row):
                item = qt.QTableWidgetItem(text)
                side = qt.Qt.AlignRight if column else qt.Qt.AlignLeft
                item.setTextAlignment(side | qt.Qt.AlignVCenter)
                table.setItem(number, column, item)
        table.setVisible(bool(rows))
        shown = min(len(rows), MOST_ROWS_SHOWN)
        rowHeight = table.verticalHeader().defaultSectionSize
        table.setFixedHeight(2 * table.fontMetrics().height() + FRAME + shown * rowHeight)


def _noteOn(measured: PartMeasures, name: str) -> str:
    """What a reader has to know of the numbers; empty when nothing is odd."""
    if not measured.parts:
        return _("No segment of {name} lies mostly in this liver.").format(name=name)
    outsideMl = sum(part.outside_ml for part in measured.parts)
    if outsideMl < OUTSIDE_ML:
        return ""
    text = _("{volume} mL of the parts lie outside of this liver and do not count.")
    return text.format(volume=f"{outsideMl:.0f}")


def _rowsOf(measured: PartMeasures) -> list[tuple[str, ...]]:
    rows = [_rowOf(part) for part in measured.parts]
    if rows and measured.in_no_part_ml > 0:
        rows.append((_("in no part"), f"{measured.in_no_part_ml:.1f}", UNKNOWN, UNKNOWN))
    return rows


def _rowOf(part: LiverPart) -> tuple[str, ...]:
    share = UNKNOWN if part.share_percent is None else f"{part.share_percent:.1f}"
    return part.name, f"{part.volume_ml:.1f}", f"{part.without_tumor_ml:.1f}", share
