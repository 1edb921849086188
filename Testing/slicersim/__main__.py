"""Runs things in the stand-in application.

python -m slicersim unittest MODULES_FOLDER TEST_FOLDER NAME
python -m slicersim generic MODULES_FOLDER NAME
python -m slicersim script MODULES_FOLDER FILE ARGUMENT...
python -m slicersim show MODULE_FILE PICTURE.png
"""

import runpy
import sys
import unittest
from pathlib import Path

import slicer

from . import pythonqt
from .app import boot, leave
from .load import load_module, open_window
from .loop import in_event_loop


def _load_all(folder):
    """The scripted modules of a folder, as Slicer finds them."""
    for path in sorted(Path(folder).glob("*.py")):
        load_module(path)


def run_unittest(modules_folder, test_folder, name):
    """The tests of the Python module NAME; those of an extension module run its own runTest."""
    _load_all(modules_folder)
    sys.path.append(test_folder)  # last: the modules are those of the other folder
    suite = unittest.defaultTestLoader.loadTestsFromName(name)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    if result.testsRun == 0:
        print("no test ran", file=sys.stderr)
    return result.wasSuccessful() and result.testsRun > 0


def run_generic(modules_folder, name):
    """What Slicer's generic test of a module does: panel made, module described, scene set."""
    _load_all(modules_folder)
    module = getattr(slicer.modules, name.lower())
    page = module.widgetRepresentation()
    page.setMRMLScene(None)
    page.setMRMLScene(slicer.mrmlScene)
    return bool(page.self() and module.title and module.helpText and module.contributors)


def run_script(modules_folder, file, *arguments):
    """A script in the application."""
    _load_all(modules_folder)
    sys.argv = [file, *arguments]
    runpy.run_path(file, run_name="__main__")
    return True


def run_show(module_file, picture):
    """The main window with the module, as a picture."""
    load_module(module_file)
    window, _ = open_window(Path(module_file).stem)
    window.refresh()
    return window.grab().save(picture)


VERBS = {
    "unittest": run_unittest,
    "generic": run_generic,
    "script": run_script,
    "show": run_show,
}


def main(arguments):
    """The exit status: 0 when the verb succeeded and no callback raised."""
    verb, *rest = arguments
    succeeded = VERBS[verb](*rest)
    for error in pythonqt.callback_errors:
        print("exception in a slot or observer:", repr(error), file=sys.stderr)
    return 0 if succeeded and not pythonqt.callback_errors else 1


if __name__ == "__main__":
    boot()
    leave(in_event_loop(main, sys.argv[1:]))
