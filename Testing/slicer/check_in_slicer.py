"""The half of the ten-minute list that a computer can check: drag this file into Slicer's console.

It wants an empty scene, loads the phantom, segments it with the default model in a real child
process, and prints a verdict a line; the last one counts them. It takes a minute or two. Where
the license of the model was not agreed to yet, it asks once.
"""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk

OLDEST, NEWEST = (5, 10), (5, 13)
LONGEST_PAUSE_S = 0.5  # of the main thread during a run
CANCELED_IN_S, GONE_IN_S = 1.0, 5.0
MOST_SECONDS = 600
LIVER, NEOPLASM = "10200004", "108369006"  # SNOMED CT

Check = Callable[["Bench"], str]


class Bench:
    """What one check leaves for the next: the panel, the CT, the result."""

    def __init__(self, makeCt: Callable[[], Any]) -> None:
        self.makeCt = makeCt
        self.volume: Any = None
        self.node: Any = None

    @property
    def panel(self) -> Any:
        return slicer.modules.livertumorseg.widgetRepresentation().self()

    def segment(self) -> float:
        """Click Segment and wait; the longest pause of the main thread, in seconds."""
        heart = Heart()
        self.panel.ui.segmentButton.click()
        waitUntil(lambda: not self.panel.logic.isRunning, MOST_SECONDS)
        self.node = self.panel.logic.getParameterNode().outputSegmentation
        assert self.node is not None, self.panel.ui.statusLabel.text
        return heart.stop()


class Heart:
    """Beats as often as the main thread is free."""

    def __init__(self) -> None:
        self.longest, self._last = 0.0, time.perf_counter()
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._beat)
        self._timer.start(0)

    def _beat(self) -> None:
        now = time.perf_counter()
        self.longest, self._last = max(self.longest, now - self._last), now

    def stop(self) -> float:
        """The longest pause."""
        self._timer.stop()
        self._timer.disconnect("timeout()", self._beat)
        return self.longest


def waitUntil(condition: Callable[[], Any], seconds: float) -> float:
    """Let Slicer work until something is so; how long it took."""
    start = time.perf_counter()
    while not condition():
        assert time.perf_counter() - start < seconds, f"it took more than {seconds:g} s"
        slicer.app.processEvents()
        time.sleep(0.005)
    return time.perf_counter() - start


# --- the checks: each says what it saw, or raises ------------------------------------------------


def checkVersion(bench: Bench) -> str:
    version = (slicer.app.majorVersion, slicer.app.minorVersion)
    assert OLDEST <= version <= NEWEST, f"Slicer {version} is none that we support"
    return f"Slicer {version[0]}.{version[1]}, {slicer.app.revision}"


def checkModule(bench: Bench) -> str:
    module = slicer.modules.livertumorseg
    slicer.util.selectModule("LiverTumorSeg")
    assert bench.panel.ui.segmentButton.text == "Segment"
    return f"module {module.title} is open"


def checkEmptyScene(bench: Bench) -> str:
    nodes = slicer.util.getNodesByClass("vtkMRMLVolumeNode")
    assert not nodes, "close the scene first: this check loads and removes things"
    assert not bench.panel.ui.segmentButton.enabled
    said = bench.panel.ui.obstacleLabel.text
    assert said, "Segment is gray and nothing says why"
    return f'says "{said}"'


def checkPackages(bench: Bench) -> str:
    environment = bench.panel.environmentPanel
    waitUntil(lambda: environment.report.isChecked or environment.report.problems, 120)
    assert not environment.report.problems, environment.report.problems[0].sentence
    report = environment.report
    return f"PyTorch {report.torch}, GPU: {report.gpu or report.gpuProblem or 'none'}"


def checkCt(bench: Bench) -> str:
    bench.volume = bench.makeCt()
    waitUntil(lambda: bench.panel.ui.segmentButton.enabled, 30)
    assert not bench.panel.ui.inputWarningLabel.text
    return f"{bench.volume.GetName()}, {bench.volume.GetImageData().GetDimensions()}"


def checkCancel(bench: Bench) -> str:
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    ui, logic = bench.panel.ui, bench.panel.logic
    ui.segmentButton.click()
    waitUntil(lambda: ui.progressBar.value > 0 or not logic.isRunning, 120)
    assert logic.isRunning, ui.statusLabel.text
    ui.segmentButton.click()
    seconds = waitUntil(lambda: not logic.isRunning, CANCELED_IN_S)
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes, "the scene is another one"
    gone = waitUntil(lambda: not jobFolders(), GONE_IN_S)
    return f"answered in {seconds:.2f} s, nothing of the CT on the disk after {gone:.1f} s"


def checkRun(bench: Bench) -> str:
    pause = bench.segment()
    assert pause < LONGEST_PAUSE_S, f"the window stood still for {pause:.2f} s"
    return f"{bench.panel.ui.statusLabel.text.splitlines()[0]} Longest pause {pause:.2f} s"


def checkLeftovers(bench: Bench) -> str:
    return f"nothing of the CT on the disk after {waitUntil(lambda: not jobFolders(), 5):.1f} s"


def checkSegments(bench: Bench) -> str:
    segmentation, tag = bench.node.GetSegmentation(), slicer.vtkSegment.GetTerminologyEntryTagName()
    for name, code in (("Liver", LIVER), ("Tumor", NEOPLASM)):
        entry = vtk.reference("")
        assert segmentation.GetSegment(name).GetTag(tag, entry), f"{name} has no terminology"
        assert f"^{code}^" in str(entry), f"{name} has another code: {entry}"
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    parents = [
        tree.GetItemParent(tree.GetItemByDataNode(node)) for node in (bench.node, bench.volume)
    ]
    assert parents[0] == parents[1], "the result does not lie beside its CT"
    return "Liver and Neoplasm, beside the CT"


def checkTable(bench: Bench) -> str:
    ui = bench.panel.ui
    said = ui.resultLabel.text
    assert ui.recallLabel.text, "nothing says how many tumors the model misses"
    if ui.lesionTable.rowCount == 0:
        return f'"{said}"'
    ui.lesionTable.setCurrentCell(0, 0)
    lines = slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")
    assert len(lines) == 2, "the diameters are not drawn"
    longest = float(ui.lesionTable.item(0, 2).text())
    drawn = max(line.GetLineLengthWorld() for line in lines)
    assert abs(drawn - longest) < 0.1, f"drawn {drawn:.1f} mm, written {longest:.1f} mm"
    return f'"{said}", the first is {longest:.1f} mm long'


def checkSurfaces(bench: Bench) -> str:
    ui = bench.panel.ui
    ui.show3DButton.checked = True
    slicer.app.processEvents()
    assert bench.node.GetSegmentation().ContainsRepresentation("Closed surface")
    opacity = bench.node.GetDisplayNode().GetSegmentOpacity3D("Liver")
    assert opacity < 1, "the liver hides its tumors"
    ui.show3DButton.checked = False
    assert not bench.node.GetSegmentation().ContainsRepresentation("Closed surface")
    return f"made and removed, the liver at {opacity:.0%}"


def checkEditor(bench: Bench) -> str:
    bench.panel.ui.editButton.click()
    editor = slicer.modules.SegmentEditorWidget.editor
    assert editor.segmentationNode() is bench.node
    mode, modes = editor.mrmlSegmentEditorNode().GetMaskMode(), slicer.vtkMRMLSegmentationNode
    chosen = editor.currentSegmentID()
    slicer.util.selectModule("LiverTumorSeg")
    if chosen.startswith("Tumor"):
        assert mode == modes.EditAllowedInsideSingleSegment, "painting is not held in the liver"
    assert editor.mrmlSegmentEditorNode().GetMaskMode() == modes.EditAllowedEverywhere
    return f"opened on {chosen}"


def checkSecondRun(bench: Bench) -> str:
    before = bench.node
    bench.segment()
    assert bench.node is before, "a run over its own result made another segmentation"
    return "replaced its own result without a question"


def checkSceneFile(bench: Bench) -> str:
    said = bench.panel.ui.resultLabel.text
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.mrb"
        assert slicer.util.saveScene(str(path)), "the scene was not saved"
        slicer.mrmlScene.Clear()
        slicer.app.processEvents()
        slicer.util.loadScene(str(path))
    slicer.app.processEvents()
    bench.node = bench.panel.logic.getParameterNode().outputSegmentation
    again = bench.panel.ui.resultLabel.text
    assert again == said, f'"{said}" before and "{again}" after'
    return "saved, closed, loaded: the same numbers"


def checkRemoval(bench: Bench) -> str:
    for _again in range(2):  # what a run had replaced comes back, and goes too
        bench.panel.ui.removeButton.click()
        slicer.app.processEvents()
    left = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert not left, f"{len(left)} segmentations are left"
    slicer.mrmlScene.Clear()
    return "the scene is empty again"


def jobFolders() -> list[Path]:
    """What runs have left in Slicer's temporary folder."""
    from LiverTumorSegSlicer.run.folder import PREFIX

    return [p for p in Path(slicer.app.temporaryPath).glob(f"{PREFIX}*") if any(p.iterdir())]


CHECKS: dict[str, Check] = {
    "Version": checkVersion,
    "Module": checkModule,
    "Empty scene": checkEmptyScene,
    "Packages": checkPackages,
    "CT": checkCt,
    "Cancel": checkCancel,
    "Run": checkRun,
    "Leftovers": checkLeftovers,
    "Segments": checkSegments,
    "Table": checkTable,
    "3D": checkSurfaces,
    "Segment Editor": checkEditor,
    "Second run": checkSecondRun,
    "Scene file": checkSceneFile,
    "Removal": checkRemoval,
}
NEEDED = ("Module", "Empty scene", "Packages", "CT", "Run")  # without them the rest says nothing


def checkAll(makeCt: Callable[[], Any], say: Callable[[str], None] = print) -> list[str]:
    """All checks; the names of those that failed."""
    bench, failed = Bench(makeCt), list[str]()
    for name, check in CHECKS.items():
        try:
            say(f"OK    {name}: {check(bench)}")
        except Exception as error:  # whatever it is, it is a verdict
            failed.append(name)
            reason = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
            say(f"FAIL  {name}: {reason}")
            if name in NEEDED:
                say(f"      The checks after {name} need it and were left out.")
                break
    say(f"{len(failed)} of {len(CHECKS)} checks failed." if failed else "All checks passed.")
    return failed


def main() -> None:
    """In Slicer, on its own sample."""
    from LiverTumorSegSlicer.scene.sample_data import loadPhantom

    slicer.util.selectModule("LiverTumorSeg")
    checkAll(loadPhantom)


if __name__ == "__main__":
    main()
