"""Two dates in the panel: a table of matches, both CTs side by side, wrong matches corrected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import qt
import slicer
from LiverTumorSegLib.result.followup.change import (
    Change,
    DatedLesion,
    Link,
    Row,
    change_of,
    read_links,
)
from LiverTumorSegLib.result.followup.corrections import (
    Corrections,
    in_order,
    joined_link,
    parted,
)
from LiverTumorSegLib.result.lesions import Lesion
from slicer.i18n import tr as _

from LiverTumorSegSlicer.run.case_job import Page
from LiverTumorSegSlicer.scene.geometry import isInScene

from .dialogs import Questions
from .inputs import sourceVolume
from .lesion_panel import FRAME, HEADER_LINES, LesionPanel
from .lesion_table import UNKNOWN
from .linked_views import LinkedViews
from .page_maker import Nodes, PageMaker
from .views import Point

EDITS = (
    slicer.vtkSegmentation.SourceRepresentationModified,
    slicer.vtkSegmentation.SegmentAdded,
    slicer.vtkSegmentation.SegmentRemoved,
)
MOST_ROWS_SHOWN = 6  # then the table scrolls


class ComparisonPanel:
    """The selector of an earlier result, *Compare*, and what it has found."""

    def __init__(
        self, ui: Any, questions: Questions, lesions: LesionPanel, pages: PageMaker
    ) -> None:
        self._ui, self._questions, self._lesions, self._pages = ui, questions, lesions, pages
        self._found: FoundMatches | None = None
        self._note, self._watched = "", list[int]()
        self._views = LinkedViews()
        self._setUpTable()
        ui.compareButton.connect("clicked(bool)", self._compare)
        ui.baselineSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onBaseline)
        ui.matchesTable.connect("itemSelectionChanged()", self._onSelected)
        ui.linkedViewsButton.connect("toggled(bool)", self._onLinked)
        ui.notSameButton.connect("clicked(bool)", self._takeApart)
        ui.sameButton.connect("clicked(bool)", self._join)
        ui.savePageButton.connect("clicked(bool)", self._savePage)
        self._fill()
        self.update()

    def update(self) -> None:
        """Enable what can be done now; matches of lesions that have changed are hidden."""
        every = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        isSecond = sum(not node.GetHideFromEditors() for node in every) > 1
        for widget in (self._ui.baselineSelector, self._ui.compareButton):
            widget.setVisible(isSecond)
        shown, baseline = self._lesions.nodes[0], self._ui.baselineSelector.currentNode()
        isOther = baseline is not None and baseline is not shown
        isFree = self._pages.isFree and self._lesions.isMeasured
        self._ui.compareButton.enabled = isFree and isOther
        found = self._found
        if found is not None and not (found.isThere and self._isOfShown(found)):
            self._forget(_("Tumors have changed since they were compared; compare again."))
        self._updateButtons()

    def cleanUp(self) -> None:
        """The panel goes; the views show again what they did."""
        self._forget()

    def _isOfShown(self, found: FoundMatches) -> bool:
        """While another module is used nothing is shown, and the matches stay."""
        node = self._lesions.nodes[0]
        if node is None:
            return True
        return node is found.followup[0] and self._lesionsNow() == found.lesionsThen

    def _lesionsNow(self) -> tuple[Lesion, ...]:
        return tuple(measured.lesion for measured in self._lesions.lesions)

    def _forget(self, note: str = "") -> None:
        """note: why, where it was not asked for."""
        self._views.hide()
        if self._found is not None:
            for tag in self._watched:
                self._found.baseline[0].RemoveObserver(tag)
        self._found, self._note, self._watched = None, note, []
        self._fill()

    def _onBaselineEdited(self, _caller: Any, _event: str) -> None:
        self._forget(_("Tumors have changed since they were compared; compare again."))

    def _onBaseline(self, _node: Any) -> None:
        self.update()

    # --- comparing -------------------------------------------------------------------------------

    def _compare(self) -> None:
        baseline = self._ui.baselineSelector.currentNode()
        volume = sourceVolume(baseline)
        if not isInScene(volume):
            text = _("The CT of the earlier result is not in the scene; load it to compare.")
            self._questions.showFailure(text)
            return
        if self._found is not None and self._found.corrections:
            text = _("Compare again? Your corrections of the matches would be lost.")
            if not self._questions.confirm(text):
                return
        self._forget()
        dates = (baseline, volume), self._lesions.nodes
        lesions = self._lesionsNow()
        nodes = dict(zip(("baseline", "followup"), dates, strict=True))
        self._pages.make(["compare"], nodes, lambda page: self._onCompared(page, dates, lesions))

    def _onCompared(
        self, page: Page, dates: tuple[Nodes, Nodes], lesions: tuple[Lesion, ...]
    ) -> None:
        self._found = FoundMatches(page.record, dates, lesions)
        self._note = ""
        self._watched = [dates[0][0].AddObserver(event, self._onBaselineEdited) for event in EDITS]
        self._fill()
        self.update()

    def _savePage(self) -> None:
        found = self._found
        if found is None:
            return
        path = self._pages.pathFor(_("Comparison"), found.followup[0])
        if path is None:
            return
        nodes = {"baseline": found.baseline, "followup": found.followup}
        command = ["compare", *found.corrections.arguments()]
        with self._views.inTheirPlaces():  # where the livers were laid onto each other
            self._pages.make(
                command, nodes, lambda page: self._pages.save(page, path), self._lesions.parts
            )

    # --- the matches -----------------------------------------------------------------------------

    def _setUpTable(self) -> None:
        table = self._ui.matchesTable
        names = [_("Earlier"), _("Now"), _("Change"), _("Volume\n(mL)"), _("Long\n(mm)")]
        table.columnCount = len(names)
        table.setHorizontalHeaderLabels(names)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.verticalHeader().setVisible(False)

    def _fill(self) -> None:
        ui, found, table = self._ui, self._found, self._ui.matchesTable
        rows = found.change.rows if found else ()
        table.blockSignals(True)
        table.rowCount = len(rows)
        for number, row in enumerate(rows):
            for column, text in enumerate(_cells(row)):
                item = qt.QTableWidgetItem(text)
                item.setTextAlignment(qt.Qt.AlignCenter)
                table.setItem(number, column, item)
        table.clearSelection()
        table.blockSignals(False)
        ui.comparisonLabel.text = found.summary if found else self._note
        ui.comparisonLabel.setVisible(bool(ui.comparisonLabel.text))
        ui.matchesWidget.setVisible(found is not None)
        table.setVisible(bool(rows))
        line, rowHeight = table.fontMetrics().height(), table.verticalHeader().defaultSectionSize
        shown = min(len(rows), MOST_ROWS_SHOWN)
        table.setFixedHeight(HEADER_LINES * line + FRAME + shown * rowHeight)
        self._updateButtons()

    def _selectedLinks(self) -> list[Link]:
        if self._found is None:
            return []
        indexes = self._ui.matchesTable.selectionModel().selectedRows()
        numbers = sorted(index.row() for index in indexes)
        return [self._found.links[n] for n in numbers if n < len(self._found.links)]

    def _updateButtons(self) -> None:
        ui, links = self._ui, self._selectedLinks()
        ui.notSameButton.enabled = len(links) == 1 and links[0].is_pair
        ui.sameButton.enabled = len(links) == 2 and _canJoin(*links)
        ui.savePageButton.enabled = self._pages.isFree
        ui.linkedViewsButton.blockSignals(True)
        ui.linkedViewsButton.checked = self._views.isOn
        ui.linkedViewsButton.blockSignals(False)

    def _takeApart(self) -> None:
        (link,) = self._selectedLinks()
        self._replace([link], parted(link))

    def _join(self) -> None:
        one, other = self._selectedLinks()
        self._replace([one, other], [joined_link(one, other)])

    def _replace(self, before: Sequence[Link], after: Sequence[Link]) -> None:
        found = self._found
        if found is None:
            return
        found.links = in_order([link for link in found.links if link not in before] + [*after])
        self._fill()
        self._ui.matchesTable.selectRow(found.links.index(after[0]))

    # --- the views -------------------------------------------------------------------------------

    def _onSelected(self) -> None:
        self._updateButtons()
        links = self._selectedLinks()
        if len(links) == 1 and self._found is not None:
            self._views.goTo(*self._found.placesOf(links[0]))

    def _onLinked(self, isWanted: bool) -> None:
        if not isWanted or self._found is None:
            self._views.hide()
            return
        found = self._found
        self._views.show(found.baseline, found.followup, found.toFollowup)
        self._updateButtons()
        self._onSelected()


class FoundMatches:
    """Matches that a comparison has found, as the reader has corrected them.

    links: the matches now. lesionsThen: those of the follow-up's table when it was compared.
    """

    def __init__(
        self, record: dict[str, Any], dates: tuple[Nodes, Nodes], lesionsThen: tuple[Lesion, ...]
    ) -> None:
        self.baseline, self.followup = dates
        self.lesionsThen = lesionsThen
        self.links = self.proposed = read_links(record["lesions"])
        fit = record["registration"]
        self.errorMm = float(fit["error_mm"])
        self.toFollowup = np.array(fit["baseline_ras_to_followup_ras"])
        before, after = (
            tuple(map(DatedLesion.from_dict, record["lesions_of_dates"][date]))
            for date in ("baseline", "followup")
        )
        self._lesions = before, after

    @property
    def isThere(self) -> bool:
        """Whether all that was compared is still in the scene."""
        return all(isInScene(node) for node in (*self.baseline, *self.followup))

    @property
    def change(self) -> Change:
        """The numbers of the matches as they are now."""
        return change_of(self.links, *self._lesions)

    @property
    def corrections(self) -> Corrections:
        """What the reader has corrected."""
        return Corrections.between(self.proposed, self.links)

    @property
    def summary(self) -> str:
        """How well the livers fit, and what the targets say."""
        fit = _("The livers fit within {error} mm.").format(error=f"{self.errorMm:.0f}")
        sentences = [fit, *_responseSentences(self.change)]
        if self.corrections:
            sentences.append(_("Matches were corrected by hand."))
        return " ".join(sentences)

    def placesOf(self, link: Link) -> tuple[Point, Point]:
        """Where its largest lesion lies at each date, in the follow-up's world, both times; where
        there is none, the place of the other date."""
        before, after = self._lesions
        places = []
        if link.baseline:
            center = [*before[link.baseline[0] - 1].center_ras_mm, 1.0]
            r, a, s = (self.toFollowup @ center)[:3].tolist()
            places.append((r, a, s))
        if link.followup:
            places.append(after[link.followup[0] - 1].center_ras_mm)
        return places[0], places[-1]


def _canJoin(one: Link, other: Link) -> bool:
    """Together they are of both dates; two pairs would be several lesions on both."""
    return joined_link(one, other).is_pair and not (one.is_pair and other.is_pair)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        "+".join(map(str, row.baseline)) or UNKNOWN,
        "+".join(map(str, row.followup)) or UNKNOWN,
        _changeText(row),
        f"{_volume(row.baseline_ml)} > {_volume(row.followup_ml)}",
        f"{_length(row.baseline_mm)} > {_length(row.followup_mm)}",
    )


def _volume(volumeMl: float) -> str:
    return f"{volumeMl:.{1 if volumeMl >= 10 else 2}f}" if volumeMl else UNKNOWN


def _length(lengthMm: float) -> str:
    return f"{lengthMm:.0f}" if lengthMm else UNKNOWN


def _changeText(row: Row) -> str:
    kinds = {
        "new": _("new"),
        "gone": _("gone"),
        "grown": _("grown"),
        "shrunk": _("shrunk"),
        "unchanged": _("unchanged"),
    }
    text = kinds[row.kind]
    if len(row.followup) > 1 and row.baseline:
        text = _("{change}, split").format(change=text)
    elif len(row.baseline) > 1 and row.followup:
        text = _("{change}, merged").format(change=text)
    return _("{change} (target)").format(change=text) if row.target else text


def _responseSentences(change: Change) -> list[str]:
    """RECIST 1.1 as an aid; nothing without a target and a new lesion."""
    categories = {
        "complete response": _("complete response"),
        "partial response": _("partial response"),
        "stable disease": _("stable disease"),
        "progressive disease": _("progressive disease"),
    }
    response, sentences = change.response, []
    if response.category:
        text = _("Targets {before} > {after} mm: {category}, if the reader agrees (RECIST 1.1).")
        sentences.append(
            text.format(
                before=response.baseline_mm,
                after=response.followup_mm,
                category=categories[response.category],
            )
        )
    if response.new_lesions:
        numbers = ", ".join(map(str, response.new_lesions))
        text = _("New, to be confirmed: {numbers}.")
        sentences.append(text.format(numbers=numbers))
    return sentences
