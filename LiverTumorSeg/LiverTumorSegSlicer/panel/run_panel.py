"""The button that is *Segment* and *Cancel*, the progress bar, and the line below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from LiverTumorSegSlicer.run.segmentation_run import Outcome, RunEnd

STEPS = 1000  # of the progress bar
LONGEST_IN_SECONDS = 90  # a longer time is shown in minutes


class RunPanel:
    """Shows where a run stands. It knows the widgets, and nothing of runs."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        ui.progressBar.maximum = STEPS
        self.showIdle(())
        self.say("")

    def showIdle(self, obstacles: Sequence[str]) -> None:
        """No run; the button starts one unless there are obstacles: all in its tool tip, the first
        of them below it."""
        ui = self._ui
        ui.progressBar.setVisible(False)
        ui.segmentButton.text = _("Segment")
        ui.segmentButton.enabled = not obstacles
        ready = _("Find the liver and its tumors in this CT.")
        ui.segmentButton.toolTip = "\n".join(obstacles) or ready
        ui.obstacleLabel.text = obstacles[0] if obstacles else ""
        ui.obstacleLabel.setVisible(bool(obstacles))

    def showRunning(self) -> None:
        """A run has begun; the button cancels it."""
        ui = self._ui
        ui.progressBar.maximum = 0  # a block moves along until something is done
        ui.progressBar.value = 0
        ui.progressBar.setVisible(True)
        ui.obstacleLabel.setVisible(False)
        ui.segmentButton.text = _("Cancel")
        ui.segmentButton.enabled = True
        ui.segmentButton.toolTip = _("Stop; nothing in the scene changes.")
        ui.logText.plainText = ""

    def showProgress(self, fraction: float, phrase: str, secondsLeft: float | None) -> None:
        """Show how far the run is (0 to 1), what it does, and how long it will take."""
        bar = self._ui.progressBar
        bar.maximum = STEPS if fraction > 0 else 0
        bar.value = round(STEPS * fraction)
        if secondsLeft is None:
            self.say(phrase)
        else:
            text = _("{phrase}, {time} left")
            self.say(text.format(phrase=phrase, time=durationText(secondsLeft)))

    def showEnd(self, end: RunEnd) -> None:
        """Show how the run ended; the log goes to Advanced."""
        self._ui.logText.plainText = end.log
        self.say(endText(end))

    def say(self, text: str) -> None:
        """Put a text below the button; without one the line takes no room."""
        self._ui.statusLabel.text = text
        self._ui.statusLabel.setVisible(bool(text))


def durationText(seconds: float) -> str:
    """A time to wait, as exact as it is known."""
    if seconds < LONGEST_IN_SECONDS:
        return _("{seconds} s").format(seconds=max(1, round(seconds)))
    return _("{minutes} min").format(minutes=round(seconds / 60))


def endText(end: RunEnd) -> str:
    """One line for the outcome, one for each note."""
    if end.outcome is Outcome.CANCELED:
        return _("Canceled; the scene is as it was.")
    if end.outcome is Outcome.FAILED and end.failure is not None:
        return end.failure.sentence
    if end.outcome is not Outcome.DONE:
        return ""
    run = end.record.get("run", {})
    device = str(run.get("device", ""))
    text = _("Done in {time} on the {device}.").format(
        time=durationText(float(run.get("seconds", 0.0))),
        device=_("CPU") if device == "cpu" else _("GPU"),
    )
    return "\n".join([text, *end.notes])
