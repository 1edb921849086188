"""What a person drags into Slicer's console passes here too, and fails where something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import check_in_slicer
import pytest
import slicer
from LiverTumorSegLib.phantom.phantom import make_phantom
from LiverTumorSegSlicer.environment.remembered import Remembered
from panel_desk import PanelDesk

COARSE = {"seed": 7, "shape_kji": (36, 160, 160), "spacing_kji_mm": (8.0, 2.4, 2.4)}


def addPhantom() -> Any:
    """A phantom that is segmented in seconds."""
    ct = make_phantom(**COARSE).ct
    node = slicer.util.addVolumeFromArray(ct.hu, ijkToRAS=ct.ijk_to_ras, name="Phantom")
    node.CreateDefaultDisplayNodes()
    return node


@pytest.fixture
def openModule(module: ModuleType, main_window: Any) -> Iterator[Any]:
    """The panel as it is, with everything real behind it; the license was agreed to."""
    slicer.app.userSettings().remove("LiverTumorSeg")
    slicer.util.selectModule("LiverTumorSeg")
    entry = slicer.modules.livertumorseg
    page = entry.widgetRepresentation()
    for model in page.self().environmentPanel._environment.models():
        Remembered().noteAgreement(model.name, model.licence)
    yield page.self()
    slicer.util.selectModule("SampleData")
    page.self().cleanup()
    entry.__dict__["_page"] = None
    page.deleteLater()
    slicer.app.processEvents()


@pytest.mark.slow
@pytest.mark.usefixtures("openModule")
def test_every_check_passes_with_the_shipped_model() -> None:
    said: list[str] = []
    failed = check_in_slicer.checkAll(addPhantom, said.append)
    assert failed == [], "\n".join(said)
    assert len(said) == len(check_in_slicer.CHECKS) + 1
    assert said[-1] == "All checks passed."


def test_what_is_wrong_is_a_verdict_and_ends_what_needs_it(desk: PanelDesk) -> None:
    desk.packages.found["torch"] = None
    desk.panel.environmentPanel.look()
    said: list[str] = []
    assert check_in_slicer.checkAll(desk.loadCt, said.append) == ["Packages"]
    assert [line.split()[0] for line in said[:4]] == ["OK", "OK", "OK", "FAIL"]
    assert "PyTorch is not installed yet" in said[3]
    assert said[-1] == f"1 of {len(check_in_slicer.CHECKS)} checks failed."
