"""slicer.packaging and the PyTorch extension: real checks and signatures, no installation.

What is asked for is noted in ``requested``. ``pip.says`` are the lines that pip prints, with events
handled after each, as Slicer does; ``pip.code`` is its exit code. ``offer_pytorch()`` puts the
module PyTorchUtils where an installed extension would.
"""

import contextlib
import sys
import types
from importlib import metadata
from importlib.machinery import ModuleSpec
from subprocess import CalledProcessError

import slicer
from packaging.requirements import Requirement
from PySide6 import QtCore, QtWidgets

requested = []  # every requirement that module code asked Slicer to install
pip = types.SimpleNamespace(says=(), code=0)


def _as_list(requirements):
    if isinstance(requirements, str):
        requirements = requirements.split()
    items = requirements if isinstance(requirements, list) else [requirements]
    return [r if isinstance(r, Requirement) else Requirement(r) for r in items]


def load_requirements(path):
    """The requirements of a text file; as in Slicer a line with a comment behind it is no good."""
    with open(path) as file:
        lines = [line.strip() for line in file]
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def pip_check(req):
    """Whether all requirements are met by what is installed."""
    needed = (r for r in _as_list(req) if not r.marker or r.marker.evaluate())
    return all(_is_met(requirement) for requirement in needed)


def _is_met(requirement):
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    return version in requirement.specifier


def pip_install(
    requirements,
    constraints=None,
    no_deps_requirements=None,
    skip_packages=None,
    blocking=True,
    show_progress=True,
    requester=None,
    parent=None,
    logCallback=None,
    completedCallback=None,
):
    """Notes what was asked for; slicer.util.pip_install comes here too.

    With show_progress there is a window meanwhile, and a failure is shown in a box of Slicer's own
    before it is raised.
    """
    if type(requirements) not in (str, list):
        raise ValueError("pip_install requirement input must be string or list")
    if not blocking:
        raise NotImplementedError("the stand-in has no pip_install that does not block")
    requested.append(requirements)
    if show_progress and not slicer.app.testingEnabled():
        _run_in_window(requester)
    else:
        _run()


def _run():
    for line in pip.says:
        print(line)
        slicer.app.processEvents()  # clicks are served between two lines
    if pip.code:
        raise CalledProcessError(pip.code, "pip install")


def _run_in_window(requester):
    window = QtWidgets.QDialog(slicer.util.mainWindow())
    window.setModal(True)
    window.windowTitle = f"{requester or ''} - Installing Python Packages"
    window.show()
    try:
        _run()
    except CalledProcessError:
        window.close()
        slicer.util.errorDisplay("Package installation failed.", detailedText="\n".join(pip.says))
        raise
    finally:
        window.close()
        QtCore.QObject.deleteLater(window)


def pip_uninstall(requirements, blocking=True, logCallback=None, completedCallback=None):
    """Removes nothing."""
    if type(requirements) not in (str, list):
        raise ValueError("pip_uninstall requirement input must be string or list")


def pip_ensure(
    requirements,
    constraints=None,
    skip_packages=None,
    prompt_install=True,
    prompt_restart=True,
    requester=None,
    skip_in_testing=True,
    show_progress=True,
):
    """Asks for the requirements that are not met; in testing mode nothing is installed."""
    missing = [str(r) for r in _as_list(requirements) if not pip_check(r)]
    if not missing or (skip_in_testing and slicer.app.testingEnabled()):
        return None
    if prompt_install:
        question = f"{len(missing)} Python packages need to be installed. Continue?"
        if not slicer.util.confirmOkCancelDisplay(question, detailedText="\n".join(missing)):
            raise RuntimeError("User declined package installation")
    return pip_install(missing, show_progress=show_progress, requester=requester)


class PyTorchUtilsLogic:
    """What other extensions use of the PyTorch extension; there is no window meanwhile."""

    installed = types.SimpleNamespace(__name__="torch", __version__="2.8.0+cpu")

    def installTorch(
        self,
        askConfirmation=False,
        forceComputationBackend=None,
        torchVersionRequirement=None,
        torchvisionVersionRequirement=None,
    ):
        """The module torch, or None when the person declined."""
        question = "PyTorch will be downloaded and installed. Continue?"
        if askConfirmation and not slicer.util.confirmOkCancelDisplay(question):
            return None
        requested.append(f"torch{torchVersionRequirement or ''}")
        _run()
        return self.installed


@contextlib.contextmanager
def offer_pytorch():
    """Within the block the extension is installed."""
    module = types.ModuleType("PyTorchUtils")
    module.__spec__ = ModuleSpec("PyTorchUtils", None)
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    sys.modules["PyTorchUtils"] = module
    try:
        yield module
    finally:
        del sys.modules["PyTorchUtils"]


def register():
    """Makes slicer.packaging importable."""
    module = types.ModuleType("slicer.packaging")
    for function in (load_requirements, pip_check, pip_install, pip_uninstall, pip_ensure):
        setattr(module, function.__name__, function)
    slicer.packaging = sys.modules[module.__name__] = module
