"""Going through the lesions: next, previous, accept, reject, add what was missed.

By buttons, and by keys while the module is shown: N, P, A, X, and U to undo.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import qt
import slicer
from LiverTumorSegLib.inference.add_lesion import lesion_at
from LiverTumorSegLib.labels import Label
from slicer.i18n import tr as _

from LiverTumorSegSlicer.run.later import Work
from LiverTumorSegSlicer.run.sentences import translatedError
from LiverTumorSegSlicer.scene.geometry import isInScene, worldIjkToRas
from LiverTumorSegSlicer.scene.kept import keptFor
from LiverTumorSegSlicer.scene.nodes import readLabels
from LiverTumorSegSlicer.scene.probability_volumes import tumorShareOf
from LiverTumorSegSlicer.scene.review import Undo, acceptLesion, addLesion, rejectLesion
from LiverTumorSegSlicer.scene.volumes import readVolume

from .click_in_view import ClickInView
from .dialogs import Questions
from .lesion_panel import LesionPanel

MOST_UNDONE = 50


class ReviewPanel:
    """The buttons below the table, and their keys."""

    def __init__(self, ui: Any, questions: Questions, lesions: LesionPanel) -> None:
        self._ui, self._questions, self._lesions = ui, questions, lesions
        self._undos: list[tuple[Any, Undo]] = []
        self._keys: list[Any] = []
        self._work: Work | None = None
        self._click = ClickInView(self._addAt, self._stopClicking)
        ui.nextLesionButton.connect("clicked(bool)", self.next)
        ui.previousLesionButton.connect("clicked(bool)", self.previous)
        ui.acceptButton.connect("clicked(bool)", self.accept)
        ui.rejectButton.connect("clicked(bool)", self.reject)
        ui.undoButton.connect("clicked(bool)", self.undo)
        ui.addLesionButton.connect("toggled(bool)", self._waitForClick)
        self.update()

    def enter(self) -> None:
        """The module is shown: its keys work, and no other module's do."""
        if self._keys:
            return
        actions = {"N": self.next, "P": self.previous, "A": self.accept}
        actions |= {"X": self.reject, "U": self.undo}
        for key, action in actions.items():
            shortcut = qt.QShortcut(slicer.util.mainWindow())
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.connect("activated()", action)
            self._keys.append((shortcut, action))

    def exit(self) -> None:
        """Another module is shown; a click there is none of ours."""
        self._stopClicking()
        while self._keys:
            shortcut, action = self._keys.pop()
            shortcut.disconnect("activated()", action)
            shortcut.setParent(None)
            shortcut.deleteLater()

    def cleanUp(self) -> None:
        """The panel goes."""
        self.exit()
        if self._work is not None:
            self._work.wait(0.0)

    def update(self) -> None:
        """Which buttons can do something now."""
        self._undos = [one for one in self._undos if isInScene(one[0])]
        ui, count = self._ui, len(self._lesions.rows)
        for button in (ui.nextLesionButton, ui.previousLesionButton):
            button.enabled = count > 0
        for button in (ui.acceptButton, ui.rejectButton):
            button.enabled = self._lesions.selected is not None
        ui.addLesionButton.enabled = self._lesions.isMeasured and self._work is None
        ui.undoButton.enabled = self._lastUndo() is not None

    def next(self, _clicked: bool = False) -> None:
        """Show the lesion after the selected one, and after the last the first."""
        self._step(1)

    def previous(self, _clicked: bool = False) -> None:
        """Show the lesion before the selected one."""
        self._step(-1)

    def accept(self, _clicked: bool = False) -> None:
        """The reader agrees with the selected lesion; the next one is shown."""
        self._review(acceptLesion, 1)

    def reject(self, _clicked: bool = False) -> None:
        """The selected lesion is none: it becomes liver, and the next one is shown."""
        self._review(rejectLesion, 0)

    def undo(self, _clicked: bool = False) -> None:
        """Take back the last thing done here to this segmentation."""
        entry = self._lastUndo()
        if entry is None:
            return
        self._undos.remove(entry)
        entry[1]()
        self._lesions.measureAgain(self._lesions.selectedRow)

    def _step(self, by: int) -> None:
        count, row = len(self._lesions.rows), self._lesions.selectedRow
        if count:
            self._lesions.select((row + by) % count if row >= 0 else 0)

    def _review(self, act: Callable[..., Undo], by: int) -> None:
        lesion, row = self._lesions.selected, self._lesions.selectedRow
        if lesion is None:
            return
        nodes = self._lesions.nodes
        self._try(lambda: self._remember(nodes[0], act(*nodes, lesion)))
        count = len(self._lesions.rows) - (act is rejectLesion)
        self._lesions.measureAgain(min(row + by, count - 1))

    def _remember(self, segmentationNode: Any, undo: Undo) -> None:
        self._undos = [*self._undos, (segmentationNode, undo)][-MOST_UNDONE:]

    def _lastUndo(self) -> tuple[Any, Undo] | None:
        shown = self._lesions.nodes[0]
        return next((one for one in reversed(self._undos) if one[0] is shown), None)

    # --- a lesion that was missed ----------------------------------------------------------------

    def _waitForClick(self, isWanted: bool) -> None:
        if isWanted:
            self._click.start()
            slicer.util.showStatusMessage(_("Click on the missed tumor in a slice."), 10_000)
        else:
            self._click.stop()

    def _stopClicking(self) -> None:
        self._click.stop()
        self._ui.addLesionButton.checked = False

    def _addAt(self, pointRasMm: tuple[float, float, float]) -> None:
        """Find what is there, in a thread: the window stays alive."""
        segmentationNode, volumeNode = self._lesions.nodes
        if not self._lesions.isMeasured or self._work is not None:
            return
        try:
            ct = readVolume(volumeNode)
            liverKji = readLabels(segmentationNode, volumeNode) == Label.LIVER
            share = _shareOf(segmentationNode, volumeNode)
            ras = np.array([*pointRasMm, 1.0])
            k, j, i = np.rint(np.linalg.inv(worldIjkToRas(volumeNode)) @ ras)[2::-1].astype(int)
            if not all(0 <= n < size for n, size in zip((k, j, i), liverKji.shape, strict=True)):
                raise ValueError(_("Click on the CT itself."))
        except ValueError as error:
            self._questions.showFailure(translatedError(error))
            return

        def then(maskKji: Any, error: Exception | None) -> None:
            self._work = None
            self._take(segmentationNode, volumeNode, maskKji, error)

        click = (int(k), int(j), int(i))
        self._work = Work(lambda: lesion_at(ct, liverKji, click, share), then)
        self.update()

    def _take(
        self, segmentationNode: Any, volumeNode: Any, maskKji: Any, error: Exception | None
    ) -> None:
        if isinstance(error, ValueError):
            self._questions.showFailure(translatedError(error))
        elif error is not None:
            text = _("The tumor could not be outlined ({reason}); draw it in Segment Editor.")
            self._questions.showFailure(text.format(reason=error))
        elif self._lesions.nodes == (segmentationNode, volumeNode):
            nodes = segmentationNode, volumeNode
            self._try(lambda: self._remember(nodes[0], addLesion(*nodes, maskKji)))
            self._lesions.measureAgain(None)
            self._lesions.selectAt(maskKji)
        self.update()

    def _try(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except ValueError as error:
            self._questions.showFailure(translatedError(error))


def _shareOf(segmentationNode: Any, volumeNode: Any) -> np.ndarray | None:
    """What the networks saw, from the run of this session or from volumes that were kept."""
    kept = keptFor(segmentationNode)
    if kept is None or kept.seen is None:
        return tumorShareOf(segmentationNode, volumeNode)
    shape = volumeNode.GetImageData().GetDimensions()[::-1]
    ends = np.add(kept.seen.first_kji, kept.seen.values.shape)
    if (ends > shape).any():
        return None
    return kept.seen.whole_kji(shape)
