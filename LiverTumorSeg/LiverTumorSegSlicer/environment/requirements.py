"""What a run needs and whether it is there: Python packages, a model, a GPU.

    environment = Environment()
    report = environment.check()               # at once; nothing is imported
    environment.checkInChild(lambda report: ...)      # in a child, some seconds: do they work?
    environment.lookBefore(lambda verdicts: ...)   # what would stand in the way of installing
    environment.installMissing(isAsked=True)   # where report.canInstall

Looking never installs, and never touches the network; only ``lookBefore`` asks whether it is there.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from LiverTumorSegLib.model import catalog
from LiverTumorSegLib.model.spec import BundleError
from slicer.i18n import tr as _

from LiverTumorSegSlicer.privacy import withoutPersonalPaths
from LiverTumorSegSlicer.run.sentences import translatedError

from .diagnostics import asText, modelRows, packageRows, systemRows
from .installer import Declined, Installer, InstallFailed, SlicerInstaller, extensionSentence
from .kit import KitEnd, Kits
from .packages import (
    DICOM_WRITER,
    DICOM_WRITER_LINE,
    PACKAGES,
    Found,
    PackageCheck,
    Packages,
    SlicerPackages,
)
from .preflight import OnVerdicts, Preflight, Verdict
from .remembered import Remembered

TORCH_REQUIREMENT = ">=2.2"
TORCH_KINDS = {"torch", "torch-old", "torch-broken"}
REQUIREMENTS_FILE = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"


def notInPlace() -> str:
    """What to do where pip said that all went well, and it is not so."""
    return _("The packages are not in place yet; restart Slicer and look again.")


def torchSize() -> str:
    """How much a PyTorch is to download."""
    return _("0.2 to 3 GB")


def packagesSize() -> str:
    """How much all other packages are to download."""
    return _("about 90 MB")


@dataclass(frozen=True)
class Problem:
    """One thing that stands in the way of a run.

    kind: "python", "torch", "torch-old", "torch-broken", "extension", "packages",
        "packages-broken" or "model". sentence: what is wrong and what to do.
    canInstall: whether ``installMissing`` can mend it.
    """

    kind: str
    sentence: str
    canInstall: bool


@dataclass(frozen=True)
class EnvironmentReport:
    """torch: its version, None when there is none that can work. cv2 and so on: whether usable.

    gpu: the GPU's name; None when there is none, or nobody has looked yet (isChecked False).
    gpuProblem: why a GPU that is there cannot be used.
    """

    torch: str | None
    cv2: bool
    safetensors: bool
    scipy: bool
    gpu: str | None
    gpuProblem: str | None
    model: bool
    problems: tuple[Problem, ...]
    isChecked: bool

    @property
    def isReady(self) -> bool:
        """Whether nothing that is known stands in the way of a run."""
        return not self.problems

    @property
    def canInstall(self) -> bool:
        """Whether something is missing that can be installed from here."""
        return any(problem.canInstall for problem in self.problems)


@dataclass(frozen=True)
class InstallOutcome:
    """kind: "done", "nothing", "declined", or as in ``InstallFailed``. sentence: for the user.

    isShown: whether Slicer itself has shown the log in a window already.
    """

    kind: str
    sentence: str
    log: str = ""
    isShown: bool = False


class Environment:
    """The Python packages and models that a segmentation needs: checked, installed, repaired.

    packages: finds packages, and checks them in a child process; installer: installs; preflight:
    finds what would stand in the way; kits: packages without a network; modelFolder: of imported
    models. The default of each is that of the running Slicer.
    """

    def __init__(
        self,
        packages: Packages | None = None,
        installer: Installer | None = None,
        modelFolder: Path | None = None,
        *,
        preflight: Preflight | None = None,
        kits: Kits | None = None,
    ) -> None:
        self._packages = packages or SlicerPackages()
        self._installer = installer or SlicerInstaller()
        self._preflight, self._kits = preflight or Preflight(), kits or Kits()
        self._modelFolder = modelFolder
        self._packageCheck: PackageCheck | None = None
        self._isInstalling = False
        self.remembered = Remembered()

    # --- look ------------------------------------------------------------------------------------

    def check(self) -> EnvironmentReport:
        """Find what is there, by its files; what ``checkInChild`` has found counts more."""
        found, packageCheck = self._packages.find(), self._packageCheck
        problems = (
            *self._pythonProblems(),
            *self._torchProblems(found),
            *self._packageProblems(found),
        )
        modelProblem = self._modelProblem()
        usable = {name: p for name, p in found.items() if p and p.isWhole and not self._why(name)}
        return EnvironmentReport(
            torch=usable["torch"].version if "torch" in usable else None,
            cv2="cv2" in usable,
            safetensors="safetensors" in usable,
            scipy="scipy" in usable,
            gpu=packageCheck.gpu if packageCheck else None,
            gpuProblem=packageCheck.gpuProblem if packageCheck else None,
            model=modelProblem is None,
            problems=(*problems, *([modelProblem] if modelProblem else [])),
            isChecked=packageCheck is not None,
        )

    def checkInChild(self, onReport: Callable[[EnvironmentReport], None]) -> None:
        """Try everything in a child process; onReport is called on the main thread."""

        def take(packageCheck: PackageCheck) -> None:
            self._packageCheck = packageCheck
            for name in ("torch", *PACKAGES):
                if name not in packageCheck.errors:
                    self.remembered.noteRepair(name, "")
            onReport(self.check())

        self._packages.checkInChild(take)

    def _pythonProblems(self) -> list[Problem]:
        if self._packages.hasPython:
            return []
        sentence = _("Slicer's own Python (PythonSlicer) was not found; install Slicer again.")
        return [Problem("python", sentence, False)]

    def _torchProblems(self, found: dict[str, Found | None]) -> list[Problem]:
        fault = self._torchFault(found.get("torch"))
        if fault is None:
            return []
        if not self._installer.canInstallTorch:
            return [Problem("extension", extensionSentence(), False)]
        kind, sentence = fault
        if kind == "torch-broken" and (vain := self._inVain(["torch"], found)):
            return [Problem(kind, vain, False)]
        return [Problem(kind, sentence.format(size=torchSize()), True)]

    def _torchFault(self, torch: Found | None) -> tuple[str, str] | None:
        """What is wrong with PyTorch: kind and sentence, without the size of the download."""
        if torch is None:
            return "torch", _("PyTorch is not installed yet; click Install ({size}).")
        if why := self._why("torch") or not torch.isWhole:
            reason = why if isinstance(why, str) else ""
            sentence = _("PyTorch is installed in part or does not fit this Slicer")
            remedy = _("; click Install to put it in anew ({size}).")
            return "torch-broken", _escapeBraces(sentence + reason) + remedy
        if not isAtLeast(torch.version, TORCH_REQUIREMENT):
            sentence = _("PyTorch {version} is too old; click Install for a newer one ({size}).")
            return "torch-old", sentence.replace("{version}", torch.version)
        return None

    def _packageProblems(self, found: dict[str, Found | None]) -> list[Problem]:
        problems = []
        if missing := self._missingPackages(found):
            sentence = _(
                "These Python packages are missing or too old: {names}; click Install ({size})."
            )
            names = ", ".join(PACKAGES[name] for name in missing)
            text = sentence.format(names=names, size=packagesSize())
            problems.append(Problem("packages", text, True))
        if broken := self._brokenPackages(found):
            sentence = _(
                "These Python packages are installed in part: {names}; click Install to put them in"
                " anew ({size})."
            )
            names = ", ".join(PACKAGES[name] + self._why(name) for name in broken)
            text = sentence.format(names=names, size=packagesSize())
            vain = self._inVain(broken, found)
            problems.append(Problem("packages-broken", vain or text, not vain))
        return problems

    def _inVain(self, names: list[str], found: dict[str, Found | None]) -> str:
        """What to say when these very versions were put in anew before; empty when they were not.

        Without it a build that does not fit would be asked for without end.
        """
        packages = {name: found[name] for name in names}
        if not all(p and self.remembered.repaired(n) == p.version for n, p in packages.items()):
            return ""
        sentence = _(
            "{names} was put in anew and still does not work; use another version of Slicer, or"
            " copy the diagnostics into a question to the developers."
        )
        shown = (f"{_shownName(n)} {p.version}{self._why(n)}" for n, p in packages.items() if p)
        return sentence.format(names=", ".join(shown))

    def _missingPackages(self, found: dict[str, Found | None]) -> list[str]:
        """Packages that are not installed, or too old; of cv2 any version and variant will do."""
        lines = requirements()
        return [
            name
            for name in PACKAGES
            if (package := found.get(name)) is None
            or (name != "cv2" and not isAtLeast(package.version, lines.get(PACKAGES[name], "")))
        ]

    def _brokenPackages(self, found: dict[str, Found | None]) -> list[str]:
        missing = self._missingPackages(found)
        return [
            name
            for name in PACKAGES
            if name not in missing
            and (package := found.get(name))
            and (not package.isWhole or self._why(name))
        ]

    def _why(self, name: str) -> str:
        """Why a package failed its check, in brackets; empty when it works or was not checked."""
        error = self._packageCheck.errors.get(name) if self._packageCheck else None
        return f" ({error})" if error else ""

    def _modelProblem(self) -> Problem | None:
        """Of the default model. Its hash is compared when all is tried, its size at once."""
        try:
            entry = catalog.find_model(None, self._modelFolder)
        except (ValueError, BundleError) as error:
            return Problem("model", translatedError(error), False)
        fault = self._packageCheck.errors.get("model") if self._packageCheck else None
        return self.modelProblem(entry, fault)

    def modelProblem(self, entry: catalog.ModelEntry, fault: str | None = None) -> Problem | None:
        """Why a model cannot run: its file is not whole. fault: what is known already."""
        file = entry.file
        if not file.path.is_file() or file.path.stat().st_size != file.size_bytes:
            fault = _("The model's file is missing or cut off.")
        if fault is None:
            return None
        again = (
            _("{fault} Install LiverTumorSeg again.")
            if entry.shipped
            else _("{fault} Import the model again.")
        )
        return Problem("model", again.replace("{fault}", fault), False)

    # --- mend ------------------------------------------------------------------------------------

    def lookBefore(self, onVerdicts: OnVerdicts) -> None:
        """Find what would stand in the way of installing what is missing; it asks the network."""
        report = self.check()
        kinds = {problem.kind for problem in report.problems if problem.canInstall}
        there = self._alreadyThere()

        def take(verdicts: tuple[Verdict, ...]) -> None:
            onVerdicts((*there, *verdicts))

        self._preflight.look(bool(kinds & TORCH_KINDS), take)

    def question(self, verdicts: tuple[Verdict, ...]) -> str:
        """Whether to install what is missing, with what was found before."""
        report = self.check()
        kinds = {problem.kind for problem in report.problems if problem.canInstall}
        found = self._packages.find()
        names = [PACKAGES[n] for n in (*self._missingPackages(found), *self._brokenPackages(found))]
        rows = [f"- {', '.join(names)} ({packagesSize()})"] if names else []
        if kinds & TORCH_KINDS:
            rows.append(f"- PyTorch ({torchSize()})")
        parts = [_("This is downloaded and put into Slicer's Python:"), "\n".join(rows)]
        if verdicts:
            parts += [_("Looked at before:"), "\n".join(verdict.line() for verdict in verdicts)]
        areGood = all(verdict.isGood for verdict in verdicts)
        parts.append(
            _("Install it now?") if areGood else _("Something stands in the way. Try it anyway?")
        )
        return "\n\n".join(parts)

    def installMissing(self, *, isAsked: bool = False) -> InstallOutcome:
        """Install what is missing. It blocks, with Slicer's own progress windows.

        isAsked: a person has agreed; otherwise the installers ask, each for itself.
        """
        if self._isInstalling:  # Slicer serves clicks between two lines of pip
            return InstallOutcome("nothing", _("An installation is going on; wait for its end."))
        report = self.check()
        todo = {problem.kind for problem in report.problems if problem.canInstall}
        if not todo:
            rest = report.problems[0].sentence if report.problems else _("Everything is there.")
            return InstallOutcome("nothing", rest)
        if inUse := self._inUse(todo):
            sentence = _("Files of {names} are in use; restart Slicer, and it goes on by itself.")
            names = ", ".join(_shownName(name) for name in inUse)
            return InstallOutcome("restart", sentence.format(names=names))
        return self._tried(lambda: self._install(todo, isAsked=isAsked)) or self._outcome()

    def isDicomWriterThere(self) -> bool:
        """Whether DICOM reports can be written; no run needs that."""
        return self._packages.isThere(DICOM_WRITER)

    def installDicomWriter(self) -> InstallOutcome:
        """Put it in place, as a person has agreed to; it blocks as ``installMissing`` does."""
        if self._isInstalling:
            return InstallOutcome("nothing", _("An installation is going on; wait for its end."))
        lines = [DICOM_WRITER_LINE]
        failed = self._tried(
            lambda: self._installer.installPackages(lines, isRepair=False, isAsked=True)
        )
        if failed is not None:
            return failed
        if not self.isDicomWriterThere():
            return InstallOutcome("restart", notInPlace())
        return InstallOutcome("done", _("Everything is installed."))

    def _tried(self, install: Callable[[], None]) -> InstallOutcome | None:
        """Install; what came in between, None when nothing did."""
        self._isInstalling = True
        try:
            install()
        except Declined:
            return InstallOutcome("declined", _("Nothing was installed."))
        except InstallFailed as failure:
            log = withoutPersonalPaths(failure.log)
            return InstallOutcome(failure.kind, failure.sentence, log, failure.isShown)
        finally:
            self._isInstalling = False
            self.forgetCheck()
        return None

    def forgetCheck(self) -> None:
        """Forget the check in the child process: packages were installed or removed."""
        self._packageCheck = None
        importlib.invalidate_caches()

    def saveKit(
        self, parent: Path, onLine: Callable[[str], None], onEnd: Callable[[KitEnd], None]
    ) -> None:
        """Put the packages that a run needs into a folder; ``InstallFailed`` when that is refused.

        Versions are those that are installed here and work, so that the kit repeats them.
        """
        self._kits.save(parent, self._kitRequirements(), onLine, onEnd)

    def installKit(
        self, folder: Path, onLine: Callable[[str], None], onEnd: Callable[[KitEnd], None]
    ) -> None:
        """Install a kit without a network; ``InstallFailed`` when it is none, or not for here."""
        if self._packages.isImported("torch"):
            sentence = _("PyTorch is in use; restart Slicer and choose Install from folder first.")
            raise InstallFailed("restart", sentence)

        def end(kitEnd: KitEnd) -> None:
            self.forgetCheck()
            onEnd(kitEnd)

        self._kits.install(folder, onLine, end)

    def cleanUp(self) -> None:
        """End what is tried, asked, saved or installed in a child."""
        self._packages.cleanUp()
        self._preflight.cleanUp()
        self._kits.cleanUp()

    def _kitRequirements(self) -> list[str]:
        found = self._packages.find()
        lines = {"torch": f"torch{TORCH_REQUIREMENT}", **requirements()}
        for name, pip in {"torch": "torch", **PACKAGES}.items():
            package = found.get(name)
            if pip in lines and package and package.isWhole and not self._why(name):
                lines[pip] = f"{pip}=={package.version}"
        return [*lines.values(), f"numpy=={sys.modules['numpy'].__version__}"]

    def _alreadyThere(self) -> list[Verdict]:
        found = self._packages.find()
        usable = {n: p for n, p in found.items() if p and p.isWhole and not self._why(n)}
        if not usable:
            return []
        names = ", ".join(f"{_shownName(name)} {p.version}" for name, p in usable.items())
        return [Verdict(True, _("Already there: {names}.").format(names=names))]

    def _inUse(self, kinds: set[str]) -> list[str]:
        """What is to be put in anew and was imported by this Slicer, whose files it then holds."""
        found = self._packages.find()
        names = self._brokenPackages(found) if "packages-broken" in kinds else []
        torch = ["torch"] if kinds & (TORCH_KINDS - {"torch"}) else []
        return [name for name in (*torch, *names) if self._packages.isImported(name)]

    def _install(self, kinds: set[str], *, isAsked: bool) -> None:
        found = self._packages.find()
        required = requirements()
        for kind, names, isRepair in (
            ("packages", self._missingPackages(found), False),
            ("packages-broken", self._brokenPackages(found), True),
        ):
            if kind in kinds:
                lines = [required.get(PACKAGES[name], PACKAGES[name]) for name in names]
                self._installer.installPackages(lines, isRepair=isRepair, isAsked=isAsked)
                self._noteRepairs(names if isRepair else [])
        if kinds & TORCH_KINDS:
            isRepair = "torch-broken" in kinds
            self._installer.installTorch(TORCH_REQUIREMENT, isRepair=isRepair, isAsked=isAsked)
            self._noteRepairs(["torch"] if isRepair else [])

    def _noteRepairs(self, names: list[str]) -> None:
        importlib.invalidate_caches()
        found = self._packages.find()
        for name in names:
            package = found.get(name)
            self.remembered.noteRepair(name, package.version if package else "")

    def _outcome(self) -> InstallOutcome:
        """pip said that all went well: did it?"""
        left = [problem for problem in self.check().problems if problem.canInstall]
        if left:
            return InstallOutcome("restart", notInPlace())
        return InstallOutcome("done", _("Everything is installed."))

    # --- models ----------------------------------------------------------------------------------

    def modelFolder(self) -> Path:
        """Where imported models lie; it need not exist yet."""
        return catalog.default_model_folder(self._modelFolder)

    def models(self) -> tuple[catalog.ModelEntry, ...]:
        """Shipped models, then imported ones. ``BundleError`` when a list is damaged."""
        return catalog.installed_models(self._modelFolder)

    def importModel(self, file: Path, name: str | None = None) -> catalog.ModelEntry:
        """Copy a model's file into the folder.

        ``ValueError`` or ``BundleError`` with a sentence.
        """
        return catalog.import_model(file, self._modelFolder, name=name)

    def removeModel(self, name: str) -> None:
        """Delete an imported model. ``ValueError`` for another."""
        catalog.remove_model(name, self._modelFolder)

    # --- show ------------------------------------------------------------------------------------

    def diagnostics(self) -> str:
        """What a developer asks first, to be copied; no name of a person or patient is in it."""
        report = self.check()
        unknown = _("none") if report.isChecked else _("not looked for yet")
        rows = [*systemRows(), *packageRows(self._packages.find())]
        rows.append(("GPU", report.gpu or report.gpuProblem or unknown))
        rows.append((_("Tried in a child process"), _("yes") if report.isChecked else _("no")))
        try:
            rows += modelRows(self.modelFolder(), self.models())
        except BundleError as error:
            rows.append((_("Models"), translatedError(error)))
        rows += [(_("Problem"), problem.sentence) for problem in report.problems]
        return asText(rows)


def _shownName(name: str) -> str:
    """A package's name as people write it."""
    return "PyTorch" if name == "torch" else PACKAGES[name]


def _escapeBraces(text: str) -> str:
    """A text that ``str.format`` leaves as it is: an error message may hold braces."""
    return text.replace("{", "{{").replace("}", "}}")


def requirements() -> dict[str, str]:
    """Name of a package -> its line in Resources/requirements.txt."""
    text = REQUIREMENTS_FILE.read_text(encoding="utf-8")
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return {line.split(">=")[0].strip(): line for line in lines if line}


def isAtLeast(version: str, requirement: str) -> bool:
    """Whether a version satisfies a requirement such as "scipy>=1.11"; one without numbers does."""
    least = requirement.partition(">=")[2].strip()
    if not least:
        return True
    lowest, installed = least.split("."), version.split("+")[0].split(".")
    try:
        return [int(n) for n in installed[: len(lowest)]] >= [int(n) for n in lowest]
    except ValueError:
        return True
