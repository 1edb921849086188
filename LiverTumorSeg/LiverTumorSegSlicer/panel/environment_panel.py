"""The *Environment* section: what is missing, how to mend it, and the imported models.

*Install* looks at what would stand in the way, asks, and installs; where a restart is needed, it
goes on by itself after it. *Save kit* and *Install from folder* do without a network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from LiverTumorSegLib.model.spec import BundleError
from slicer.i18n import tr as _

from LiverTumorSegSlicer.environment.installer import InstallFailed
from LiverTumorSegSlicer.environment.kit import KitEnd
from LiverTumorSegSlicer.environment.preflight import Verdict
from LiverTumorSegSlicer.environment.remembered import Remembered
from LiverTumorSegSlicer.environment.requirements import (
    Environment,
    EnvironmentReport,
    torchSize,
)
from LiverTumorSegSlicer.run.sentences import translatedError

from .dialogs import Questions
from .models import ModelChoice

MODEL_FILTER = "LiverTumorSeg (*.safetensors)"
INSTALLED_ENOUGH = ("done", "nothing", "declined")
RESTART = "restart"
LINE_LENGTH = 80  # of what pip says, in the panel


class EnvironmentPanel:
    """Shows the environment's report. ``onChanged()``: the report or the models are others now."""

    def __init__(
        self,
        ui: Any,
        environment: Environment,
        models: ModelChoice,
        questions: Questions,
        onChanged: Callable[[], None],
    ) -> None:
        self._ui, self._environment, self._models = ui, environment, models
        self._questions, self._onChanged = questions, onChanged
        self._isAlive, self._isChecking = True, False
        self._busyWith = ""
        self._obstaclesBefore: tuple[str, ...] = ()
        ui.installButton.connect("clicked(bool)", self._install)
        ui.saveKitButton.connect("clicked(bool)", self._saveKit)
        ui.installKitButton.connect("clicked(bool)", self._installKit)
        ui.copyDiagnosticsButton.connect("clicked(bool)", self._copyDiagnostics)
        ui.importModelButton.connect("clicked(bool)", self._importModel)
        ui.removeModelButton.connect("clicked(bool)", self._removeModel)
        ui.modelFolderButton.connect("clicked(bool)", self._openModelFolder)
        ui.modelFolderButton.toolTip = str(environment.modelFolder())
        self.report = environment.check()
        self._models.refresh()
        self._show()

    @property
    def obstacles(self) -> tuple[str, ...]:
        """What stands in the way of a run with the chosen model, one sentence each."""
        if self._busyWith:
            return (self._busyWith,)
        entry, problems = self._models.entry, self.report.problems
        found = [problem.sentence for problem in problems if problem.kind != "model"]
        if entry is None:
            found.append(self._models.problem)
        elif entry.default:  # the report knows this one only
            found += [problem.sentence for problem in problems if problem.kind == "model"]
        elif problem := self._environment.modelProblem(entry):
            found.append(problem.sentence)
        return tuple(found)

    def look(self) -> None:
        """Look again; a person may have installed something elsewhere meanwhile."""
        if self._busyWith:
            return
        self._take(self._environment.check())
        areThere = all(problem.kind == "model" for problem in self.report.problems)
        if areThere and not self.report.isChecked and not self._isChecking:
            self._isChecking = True
            self._environment.checkInChild(self._takeCheck)

    def goOnInstalling(self) -> None:
        """After a restart: what a person agreed to before it is done now, without a question."""
        remembered = self._environment.remembered
        if not remembered.installationWaits:
            return
        remembered.installationWaits = False  # once: what fails again is shown, not repeated
        if self.report.canInstall:
            self._installNow(isSecondTry=True)

    def cleanUp(self) -> None:
        """The panel goes; a check that is still running changes nothing any more."""
        self._isAlive = False
        self._environment.cleanUp()

    def updateModel(self) -> None:
        """Another model was chosen."""
        self._show()

    def _takeCheck(self, report: EnvironmentReport) -> None:
        self._isChecking = False
        if self._isAlive:
            self._take(report)

    def _take(self, report: EnvironmentReport) -> None:
        self.report = report
        self._models.refresh()
        self._show()
        self._onChanged()

    def _show(self) -> None:
        """Unfold the section when something stands in the way that did not before."""
        obstacles = self.obstacles
        if set(obstacles) - set(self._obstaclesBefore):
            self._ui.environmentCollapsibleButton.collapsed = False
        self._obstaclesBefore = obstacles
        ui, isFree = self._ui, not self._busyWith
        ui.environmentLabel.text = "\n".join(obstacles) or _reportText(self.report)
        ui.installButton.enabled = self.report.canInstall and isFree
        ui.installButton.toolTip = (
            _("Looks at what would stand in the way, asks, and installs what is missing.")
            if self.report.canInstall
            else _("Nothing that can be installed from here is missing.")
        )
        for button in (ui.saveKitButton, ui.installKitButton, ui.importModelButton):
            button.enabled = isFree
        self._showRemovable()

    def _showRemovable(self) -> None:
        entry, button = self._models.entry, self._ui.removeModelButton
        isImported = entry is not None and not entry.shipped
        button.enabled = isImported and not self._busyWith
        button.toolTip = (
            _("Deletes the file of the model chosen above from this computer.")
            if isImported
            else _("Only imported models can be removed; the one chosen above is none.")
        )

    def _setBusy(self, sentence: str) -> None:
        """Nothing else can be begun meanwhile; the empty sentence ends it."""
        self._busyWith = sentence
        if not sentence:
            self._take(self._environment.check())
            return
        self._show()
        self._onChanged()
        slicer.app.processEvents()  # it is seen before anything blocks

    def _install(self) -> None:
        if not self._busyWith:
            self._setBusy(_("Looking at what would stand in the way of installing..."))
            self._environment.lookBefore(self._ask)

    def _ask(self, verdicts: tuple[Verdict, ...]) -> None:
        if not self._isAlive:
            return
        if self._questions.confirm(self._environment.question(verdicts)):
            self._installNow()
        else:
            self._setBusy("")

    def _installNow(self, *, isSecondTry: bool = False) -> None:
        self._setBusy(_("Installing; Slicer may not answer for some minutes."))
        with slicer.util.WaitCursor():
            outcome = self._environment.installMissing(isAsked=True)
        if not self._isAlive:
            return
        self._setBusy("")
        self.look()
        if outcome.kind == RESTART and not isSecondTry:
            self._offerRestart(outcome.sentence)
        elif outcome.isShown and outcome.kind == "other":  # our window would say no more
            slicer.util.showStatusMessage(outcome.sentence, 10_000)
        elif outcome.kind not in INSTALLED_ENOUGH:
            self._questions.showFailure(outcome.sentence, outcome.log)

    def _offerRestart(self, sentence: str) -> None:
        """The installation goes on by itself after the next start, whoever starts Slicer."""
        self._environment.remembered.installationWaits = True
        if self._questions.confirm(_("{sentence}\n\nRestart now?").format(sentence=sentence)):
            slicer.util.restart()

    def _saveKit(self) -> None:
        folder = self._questions.folder(_("Save kit: folder for the packages of this Slicer"))
        if folder is not None:
            sentence = _("Saving the packages of this Slicer ({size}).")
            size = torchSize()
            done = _("The kit is saved in {folder}.")
            self._withKit(self._environment.saveKit, folder, sentence.format(size=size), done)

    def _installKit(self) -> None:
        folder = self._questions.folder(_("Install from folder: the folder that Save kit made"))
        if folder is not None:
            done = _("The kit was installed.")
            self._withKit(self._environment.installKit, folder, _("Installing the kit."), done)

    def _withKit(self, act: Any, folder: Path, sentence: str, done: str) -> None:
        def end(kitEnd: KitEnd) -> None:
            if not self._isAlive:
                return
            self._setBusy("")
            self.look()
            if kitEnd.failure is not None:
                self._questions.showFailure(kitEnd.failure.sentence, kitEnd.failure.log)
            else:
                self._questions.showMessage(done.format(folder=kitEnd.folder))

        self._setBusy(sentence)
        try:
            act(folder, self._showLine, end)
        except InstallFailed as failure:
            end(KitEnd(folder, failure))

    def _showLine(self, line: str) -> None:
        """Show the last line of pip's output."""
        if self._isAlive and self._busyWith:
            self._ui.environmentLabel.text = f"{self._busyWith}\n{line.strip()[:LINE_LENGTH]}"

    def _copyDiagnostics(self) -> None:
        slicer.app.clipboard().setText(self._environment.diagnostics())
        slicer.util.showStatusMessage(_("Diagnostics were copied."), 3000)

    def _importModel(self) -> None:
        path = self._questions.openPath(_("Import model"), MODEL_FILTER)
        if path is None:
            return
        try:
            entry = self._environment.importModel(path)
        except (ValueError, BundleError) as error:
            self._questions.showFailure(translatedError(error))
            return
        self._models.refresh()
        self._models.choose(entry.name)
        self.look()

    def _removeModel(self) -> None:
        entry = self._models.entry
        if entry is None:
            return
        question = _("Delete the model {name} from this computer?").format(name=entry.title)
        if not self._questions.confirm(question):
            return
        try:
            self._environment.removeModel(entry.name)
        except (ValueError, BundleError) as error:
            self._questions.showFailure(translatedError(error))
        self._models.choose("")
        self.look()

    def _openModelFolder(self) -> None:
        folder = self._environment.modelFolder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            text = _("The folder {folder} cannot be made ({reason}).")
            self._questions.showFailure(text.format(folder=folder, reason=reason))
            return
        self._questions.showFolder(folder)


def openWhereInstallationWaits() -> None:
    """Show the panel after a restart that an installation asked for; it goes on there."""
    if Remembered().installationWaits:
        slicer.util.selectModule("LiverTumorSeg")


def _reportText(report: EnvironmentReport) -> str:
    if not report.isChecked:
        return _("All that is needed is installed; trying it now.")
    gpu = report.gpu or report.gpuProblem or _("none that PyTorch can use")
    return _("All that is needed is installed and works.\nPyTorch {torch}, GPU: {gpu}.").format(
        torch=report.torch, gpu=gpu.rstrip(".")
    )
