"""What Slicer does with the module file at its start: cheap, without torch, and described."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
import qt
import slicer

TESTING = Path(__file__).resolve().parents[1]
MODULE_FOLDER = TESTING.parent / "LiverTumorSeg"
PANEL_WIDTH = 400  # pixels, the narrowest module panel of Slicer

IMPORT = """
import importlib.util, json, sys
from slicersim.app import boot, leave
boot()
import numpy
OURS = ("LiverTumorSegLib", "LiverTumorSegSlicer")
def load():
    spec = importlib.util.spec_from_file_location("LiverTumorSeg", sys.argv[1])
    module = importlib.util.module_from_spec(spec)
    sys.modules["LiverTumorSeg"] = module
    for other in [name for name in sys.modules if name.startswith(OURS)]:
        del sys.modules[other]
    spec.loader.exec_module(module)
before = set(sys.modules)
load()
print(json.dumps({"new": sorted(set(sys.modules) - before)}), flush=True)
leave(0)
"""


@pytest.fixture(scope="module")
def imported() -> dict:
    """Which modules came with the import."""
    path = os.pathsep.join([str(TESTING), str(MODULE_FOLDER)])
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(MODULE_FOLDER / "LiverTumorSeg.py")],
        env={**os.environ, "PYTHONPATH": path, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_import_brings_nothing_heavy(imported: dict) -> None:
    heavy = {"torch", "cv2", "nibabel", "scipy", "safetensors", "monai", "skimage", "pandas"}
    assert not heavy & {name.partition(".")[0] for name in imported["new"]}


def test_the_module_describes_itself(module: ModuleType) -> None:
    entry = slicer.modules.livertumorseg
    assert entry.title == "Liver Tumor Segmentation"
    assert entry.categories == ["Segmentation"]
    assert entry.contributors
    assert "not for diagnosis" in entry.helpText
    assert '<a href="https://' in entry.helpText
    for words in ("Bader", "Jarjees", "Shin", "G-UNETR++", "doi.org/10.35882"):
        assert words in entry.acknowledgementText


def test_samples_are_registered_when_slicer_has_started(module: ModuleType) -> None:
    slicer.app.startupCompleted.emit()
    listed = slicer.modules.sampleDataSources["LiverTumorSeg"]
    assert [source.sampleName for source in listed] == ["Liver phantom"]


def test_every_parameter_of_the_ui_file_exists(module: ModuleType) -> None:
    root = ElementTree.parse(MODULE_FOLDER / "Resources" / "UI" / "LiverTumorSeg.ui").getroot()
    named = root.iterfind(".//property[@name='SlicerParameterName']/string")
    shown = {element.text for element in named}
    kept = set(module.LiverTumorSegParameterNode.__annotations__)
    assert shown <= kept
    assert kept - shown == {"model", "device"}, "these two are shown by lists of their own"


def test_words_on_the_panel_can_be_translated() -> None:
    """Text given to a widget in code passes through _() on its way."""
    for path in (MODULE_FOLDER / "LiverTumorSegSlicer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
                isText = node.targets[0].attr in ("text", "toolTip", "windowTitle")
                value = node.value
                isLiteral = isinstance(value, ast.Constant) and bool(value.value)
                assert not (isText and isLiteral), f"{path.name}:{node.lineno}"


def test_no_text_is_translated_while_a_file_is_imported() -> None:
    """It would stay in the language of that moment."""
    early = []
    for path in [
        *MODULE_FOLDER.rglob("LiverTumorSegSlicer/**/*.py"),
        MODULE_FOLDER / "LiverTumorSeg.py",
    ]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.Lambda)]
        late = {id(inner) for function in functions for inner in ast.walk(function)}
        calls = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and id(n) not in late)
        early += [f"{path.name}:{n.lineno}" for n in calls if getattr(n.func, "id", "") == "_"]
    assert not early


def test_the_panel_fits_the_narrowest_module_panel(desk) -> None:
    for button in (desk.ui.advancedCollapsibleButton, desk.ui.environmentCollapsibleButton):
        button.collapsed = False
    desk.loadCt("A CT with quite a long name, as they come from the archive, CE 5.0 B30f")
    desk.answerWith()
    desk.run()
    desk.ui.recallLabel.text = "This model finds few of many tumors in tests; look yourself. " * 3
    desk.ui.sensitivityLabel.text = desk.ui.recallLabel.text
    usual = qt.QFont(slicer.app.font())
    large = qt.QFont(usual)
    large.setPointSizeF(1.5 * usual.pointSizeF())
    try:
        for font in (usual, large):
            slicer.app.setFont(font)
            slicer.app.processEvents()
            assert desk.page.layout().minimumSize().width() <= PANEL_WIDTH
    finally:
        slicer.app.setFont(usual)
