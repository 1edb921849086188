"""The check box that lays the model's own probability over the CT, of the result that is shown."""

from __future__ import annotations

from typing import Any

from LiverTumorSegSlicer.run.sentences import translatedError
from LiverTumorSegSlicer.scene.kept import keptFor
from LiverTumorSegSlicer.scene.uncertainty import ProbabilityOverlay

from .dialogs import Questions
from .lesion_panel import LesionPanel


class UncertaintyPanel:
    """Shows and hides the overlay; it goes with the result, and with the module's panel."""

    def __init__(self, ui: Any, questions: Questions, lesions: LesionPanel) -> None:
        self._box, self._questions, self._lesions = ui.uncertaintyCheckBox, questions, lesions
        self._overlay: ProbabilityOverlay | None = None
        self._shown: tuple[Any, Any] = (None, None)
        self._box.connect("toggled(bool)", self._onToggled)
        self.update()

    def update(self) -> None:
        """Other lesions are shown: the overlay of another result is none of this one."""
        kept = keptFor(self._lesions.nodes[0]) if self._lesions.isMeasured else None
        seen = kept.seen if kept is not None else None
        self._box.setVisible(seen is not None)
        if self._overlay is not None and (self._lesions.nodes != self._shown or seen is None):
            self.remove()

    def remove(self) -> None:
        """The slice views show again what they did before."""
        if self._overlay is not None:
            self._overlay.remove()
        self._overlay, self._shown = None, (None, None)
        self._box.blockSignals(True)
        self._box.checked = False
        self._box.blockSignals(False)

    def _onToggled(self, isWanted: bool) -> None:
        if not isWanted:
            self.remove()
            return
        kept = keptFor(self._lesions.nodes[0])
        if kept is None or kept.seen is None:
            self.remove()
            return
        try:
            self._overlay = ProbabilityOverlay(kept.seen, self._lesions.nodes[1])
        except ValueError as error:
            self._questions.showFailure(translatedError(error))
            self.remove()
        else:
            self._shown = self._lesions.nodes
