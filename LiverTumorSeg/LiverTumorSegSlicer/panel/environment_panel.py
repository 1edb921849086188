"""The *Environment* section: what is missing, how to mend it, and the imported models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from LiverTumorSegLib.model.spec import BundleError, read_spec, stage_of
from slicer.i18n import tr as _

from LiverTumorSegSlicer.environment.requirements import Environment, EnvironmentReport

from .choices import ModelChoice
from .questions import Questions

MODEL_FILTER = "LiverTumorSeg (*.safetensors)"
INSTALLED_ENOUGH = ("done", "nothing", "declined")


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
        self._isAlive, self._isProving = True, False
        self._obstaclesBefore: tuple[str, ...] = ()
        ui.installButton.connect("clicked(bool)", self._install)
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
        self._take(self._environment.check())
        areThere = all(problem.kind == "model" for problem in self.report.problems)
        if areThere and not self.report.isProven and not self._isProving:
            self._isProving = True
            self._environment.prove(self._takeProof)

    def cleanUp(self) -> None:
        """The panel goes; a proof that is under way finds nobody."""
        self._isAlive = False

    def updateModel(self) -> None:
        """Another model was chosen."""
        self._show()

    def _takeProof(self, report: EnvironmentReport) -> None:
        self._isProving = False
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
        self._ui.environmentLabel.text = "\n".join(obstacles) or _reportText(self.report)
        self._ui.installButton.enabled = self.report.canInstall
        self._ui.installButton.toolTip = (
            _("Installs what is missing into Slicer's Python, after a question.")
            if self.report.canInstall
            else _("Nothing that can be installed from here is missing.")
        )
        self._showRemovable()

    def _showRemovable(self) -> None:
        entry, button = self._models.entry, self._ui.removeModelButton
        button.enabled = entry is not None and not entry.shipped
        button.toolTip = (
            _("Deletes the file of the model chosen above from this computer.")
            if button.enabled
            else _("Only imported models can be removed; the one chosen above is none.")
        )

    def _install(self) -> None:
        outcome = self._environment.installMissing(self._questions.confirm)
        self.look()
        if outcome.kind not in INSTALLED_ENOUGH:
            self._questions.tellFailure(outcome.sentence, outcome.log)

    def _copyDiagnostics(self) -> None:
        slicer.app.clipboard().setText(self._environment.diagnostics())
        slicer.util.showStatusMessage(_("Diagnostics were copied."), 3000)

    def _importModel(self) -> None:
        path = self._questions.openPath(_("Import model"), MODEL_FILTER)
        if path is None:
            return
        try:
            files = self._withItsOther(path)
            if files is None:
                return
            entry = self._environment.importModel(files)
        except (ValueError, BundleError) as error:
            self._questions.tellFailure(str(error))
            return
        self._models.refresh()
        self._models.choose(entry.name)
        self.look()

    def _withItsOther(self, path: Path) -> list[Path] | None:
        """The file, and of a cascade its other one too; None when the person changed their mind."""
        title = {
            "liver": _("Import model: now the file of the tumor network"),
            "tumor": _("Import model: now the file of the liver network"),
        }.get(stage_of(read_spec(path)))
        if title is None:
            return [path]
        other = self._questions.openPath(title, MODEL_FILTER)
        return None if other is None else [path, other]

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
            self._questions.tellFailure(str(error))
        self._models.choose("")
        self.look()

    def _openModelFolder(self) -> None:
        folder = self._environment.modelFolder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            text = _("The folder {folder} cannot be made ({reason}).")
            self._questions.tellFailure(text.format(folder=folder, reason=reason))
            return
        self._questions.showFolder(folder)


def _reportText(report: EnvironmentReport) -> str:
    if not report.isProven:
        return _("All that is needed is installed; trying it now.")
    gpu = report.cuda or report.cudaProblem or _("none that PyTorch can use")
    return _("All that is needed is installed and works.\nPyTorch {torch}, GPU: {gpu}.").format(
        torch=report.torch, gpu=gpu.rstrip(".")
    )
