"""A slider from fewer to more marks: tumors, table and record follow it without a second run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from slicer.i18n import tr as _

from LiverTumorSegSlicer.run.later import Work, callLater
from LiverTumorSegSlicer.run.sentences import translated, translatedError
from LiverTumorSegSlicer.scene.editing import is3DShown
from LiverTumorSegSlicer.scene.kept import Kept, keptFor
from LiverTumorSegSlicer.scene.segment_map import mapSegments
from LiverTumorSegSlicer.scene.sensitivity import (
    Plan,
    carryOut,
    noteStep,
    planStep,
    protectedSegments,
    untouchedSegments,
)

from .dialogs import Questions
from .lesion_panel import LesionPanel

SURFACES_AFTER_MS = 700  # surfaces take Slicer long: only once the hand rests


class SensitivityPanel:
    """The slider and what to expect of where it stands.

    show3DAgain: makes the surfaces anew that a change has taken away. isBusy: whether the segments
    are on their way to where the slider stands.
    """

    def __init__(
        self,
        ui: Any,
        questions: Questions,
        lesions: LesionPanel,
        show3DAgain: Callable[[], None],
    ) -> None:
        self._ui, self._questions, self._lesions = ui, questions, lesions
        self._show3DAgain = show3DAgain
        self._work: Work | None = None
        self.isBusy = False
        self._was3D = False
        ui.sensitivitySlider.connect("valueChanged(int)", self._onMoved)
        self.update()

    def update(self) -> None:
        """Other lesions are shown."""
        kept = self._kept
        for widget in (self._ui.sensitivityWidget, self._ui.sensitivityLabel):
            widget.setVisible(kept is not None)
        if kept is None or self.isBusy:
            return
        slider = self._ui.sensitivitySlider
        slider.blockSignals(True)
        slider.setRange(kept.steps.fewest, kept.steps.most)
        slider.value = kept.step
        slider.blockSignals(False)
        self._tell(kept.step)

    def cleanUp(self) -> None:
        """The panel goes."""
        self.isBusy = True
        if self._work is not None:
            self._work.wait(0.0)

    @property
    def _kept(self) -> Kept | None:
        kept = keptFor(self._lesions.nodes[0]) if self._lesions.isMeasured else None
        return kept if kept is not None and kept.steps is not None else None

    def _tell(self, step: int) -> None:
        kept = self._kept
        if kept is None:
            return
        expected = translated(kept.steps.at(step)[1]["expected"])
        names = {-1: _("Fewer marks than tested."), 0: _("As tested."), 1: _("More than tested.")}
        side = (step > 0) - (step < 0)
        self._ui.sensitivityLabel.text = f"{names[side]} {expected}"

    def _onMoved(self, step: int) -> None:
        self._tell(step)
        if not self.isBusy:
            self.isBusy = True
            callLater(0, self._begin)

    def _begin(self) -> None:
        """Read the segments, and plan in a thread: the window stays alive."""
        kept, nodes = self._kept, self._lesions.nodes
        step = int(self._ui.sensitivitySlider.value)
        if kept is None or step == kept.step:
            self._end()
            return
        try:
            found = mapSegments(*nodes)
        except ValueError as error:
            self._fail(error)
            return
        protected, before = protectedSegments(nodes[0]), kept.step
        arguments = kept.steps, before, step, protected, kept.onePerLesion, kept.touched

        def then(plan: Plan | None, error: Exception | None) -> None:
            self._work = None
            if plan is None:
                self._fail(error or ValueError(_("The step could not be made.")))
            elif self._lesions.nodes != nodes:
                self._end()
            else:
                callLater(0, lambda: self._goOn(self._turns(nodes, kept, step, plan)))

        self._work = Work(lambda: planStep(found, *arguments), then)

    def _turns(self, nodes: tuple[Any, Any], kept: Kept, step: int, plan: Plan) -> Iterator[None]:
        """The change in short pieces, between which Slicer serves the mouse."""
        segmentationNode = nodes[0]
        untouched = untouchedSegments(segmentationNode)
        yield
        self._was3D = self._was3D or is3DShown(segmentationNode)
        yield from carryOut(*nodes, plan)
        noteStep(segmentationNode, kept, step, plan, untouched)
        yield
        self._lesions.measureAgain(None)

    def _goOn(self, turns: Iterator[None]) -> None:
        try:
            next(turns)
        except StopIteration:
            callLater(0, self._begin)  # the hand may have moved on meanwhile
        except ValueError as error:
            self._fail(error)
        else:
            callLater(0, lambda: self._goOn(turns))

    def _fail(self, error: Exception) -> None:
        self._end()
        self._questions.showFailure(translatedError(error))

    def _end(self) -> None:
        self.isBusy = False
        self.update()
        if self._was3D:
            callLater(SURFACES_AFTER_MS, self._restoreSurfaces)

    def _restoreSurfaces(self) -> None:
        if self._was3D and not self.isBusy:
            self._was3D = False
            self._show3DAgain()
