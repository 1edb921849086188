"""What is missing is put in place when the user agrees, and nothing else; so are models."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_environment import (
    FakePackages,
    environmentOf,
    forgetAll,
    noNetwork,
    shipSmallModel,
)
from LiverTumorSegLib.model import catalog
from LiverTumorSegSlicer.environment import requirements as environment_module
from LiverTumorSegSlicer.environment.installer import Declined
from LiverTumorSegSlicer.environment.packages import PACKAGES, Found, PackageCheck
from LiverTumorSegSlicer.environment.preflight import Verdict
from LiverTumorSegSlicer.environment.requirements import (
    TORCH_REQUIREMENT,
    Environment,
    isAtLeast,
    requirements,
)
from looped import looped
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def shippedModel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> catalog.ModelEntry:
    forgetAll()
    return shipSmallModel(tmp_path, monkeypatch)


def test_nothing_to_install() -> None:
    environment, installer = environmentOf(FakePackages())
    assert environment.installMissing(isAsked=True).kind == "nothing"
    assert installer.asked == []


def test_what_is_missing_is_installed_after_one_question() -> None:
    environment, installer = environmentOf(FakePackages("torch", "cv2", "safetensors"))
    question = environment.question((Verdict(True, "There is room."),))
    outcome = environment.installMissing(isAsked=True)
    assert outcome.kind == "done"
    for word in ("PyTorch", "GB", "opencv-python-headless, safetensors", "There is room."):
        assert word in question
    assert "nibabel" not in question, "nothing in Slicer reads a NIfTI file with it"
    assert installer.asked == [
        ("packages", (requirements()["opencv-python-headless"], "safetensors>=0.4"), False, True),
        ("torch", TORCH_REQUIREMENT, False, True),
    ]
    assert environment.check().isReady


def test_without_a_question_of_ours_the_installers_ask() -> None:
    environment, installer = environmentOf(FakePackages("torch", "cv2"))
    environment.installMissing()
    assert [isAsked for _, _, _, isAsked in installer.asked] == [False, False]


def test_no_is_no() -> None:
    environment, installer = environmentOf(FakePackages("torch"))
    installer.failure = Declined()
    assert environment.installMissing().kind == "declined"


def test_what_is_broken_is_put_in_anew() -> None:
    packages = FakePackages(
        packageCheck=PackageCheck(errors={"torch": "cut off", "cv2": "cut off"})
    )
    environment, installer = environmentOf(packages)
    environment.checkInChild(lambda report: None)
    assert environment.installMissing(isAsked=True).kind == "done"
    assert [(what, isRepair) for what, _, isRepair, _ in installer.asked] == [
        ("packages", True),
        ("torch", True),
    ]
    assert not environment.check().isChecked, "what was found before counts no more"


def test_a_repair_in_vain_is_not_offered_again() -> None:
    """A build that does not fit this Slicer would be put in anew without end."""
    packages = FakePackages(
        packageCheck=PackageCheck(errors={"torch": "no {NumPy}", "cv2": "no createCLAHE"})
    )
    for round_, canInstall in enumerate((True, False, True)):
        environment, installer = environmentOf(packages)  # Slicer was started again
        environment.checkInChild(lambda report: None)
        report = environment.check()
        assert report.canInstall is canInstall, round_
        assert len(report.problems) == 2
        if canInstall:
            environment.installMissing(isAsked=True)
            assert len(installer.asked) == 2
            packages.found.update(torch=Found("99.0", True), cv2=Found("99.0", True))
        else:
            for problem in report.problems:
                assert "99.0" in problem.sentence
                assert "still does not work" in problem.sentence
            assert "no {NumPy}" in report.problems[0].sentence
            packages.found.update(torch=Found("99.1", True), cv2=Found("99.1", True))


def test_what_works_may_be_repaired_anew_later() -> None:
    packages = FakePackages(packageCheck=PackageCheck(errors={"torch": "cut off"}))
    environment, _ = environmentOf(packages)
    environment.checkInChild(lambda report: None)
    environment.installMissing(isAsked=True)
    for packageCheck, canInstall in (
        (PackageCheck(), False),
        (PackageCheck(errors={"torch": "cut off"}), True),
    ):
        packages.packageCheck = packageCheck
        environment.checkInChild(lambda report: None)
        assert environment.check().canInstall is canInstall


def test_files_in_use_are_replaced_after_a_restart() -> None:
    packages = FakePackages(packageCheck=PackageCheck(errors={"torch": "cut off"}))
    packages.imported = {"torch"}
    environment, installer = environmentOf(packages)
    environment.checkInChild(lambda report: None)
    outcome = environment.installMissing(isAsked=True)
    assert outcome.kind == "restart"
    assert "PyTorch" in outcome.sentence
    assert installer.asked == []


def test_a_second_installation_does_not_begin_inside_the_first() -> None:
    """Slicer serves clicks between two lines of pip."""
    environment, installer = environmentOf(FakePackages("torch"))
    inside: list[Any] = []
    whole = installer.installTorch

    def servingClicks(*arguments: Any, **options: Any) -> None:
        inside.append(environment.installMissing(isAsked=True))
        whole(*arguments, **options)

    installer.installTorch = servingClicks  # type: ignore[method-assign]
    assert environment.installMissing(isAsked=True).kind == "done"
    assert [outcome.kind for outcome in inside] == ["nothing"]
    assert len(installer.asked) == 1


def test_a_bad_verdict_is_in_the_question() -> None:
    environment, _ = environmentOf(FakePackages("torch"))
    verdicts = (Verdict(True, "There is room."), Verdict(False, "There is no network."))
    question = environment.question(verdicts)
    assert "\u2713 There is room.\n\u2717 There is no network." in question
    assert question.endswith("Try it anyway?")


def test_what_cannot_be_installed_from_here_is_said() -> None:
    environment, installer = environmentOf(FakePackages("torch"), canInstallTorch=False)
    outcome = environment.installMissing(isAsked=True)
    assert outcome.kind == "nothing"
    assert "Extensions Manager" in outcome.sentence
    assert installer.asked == []


def test_a_failure_is_told_with_its_log() -> None:
    environment, installer = environmentOf(FakePackages("torch", "cv2"))
    installer.failure = noNetwork()
    installer.failure.log = f"in {Path.home()}/Slicer/lib"
    outcome = environment.installMissing(isAsked=True)
    assert outcome.kind == "network"
    assert "connect" in outcome.sentence
    assert outcome.log == "in ~/Slicer/lib"
    assert len(installer.asked) == 1, "torch is not tried without a network"


def test_an_installation_in_vain_asks_for_a_restart() -> None:
    environment, installer = environmentOf(FakePackages("cv2"))
    installer.isInVain = True
    outcome = environment.installMissing(isAsked=True)
    assert outcome.kind == "restart"
    assert "restart" in outcome.sentence


def test_one_truth_about_what_is_needed() -> None:
    """Resources/requirements.txt and TORCH_REQUIREMENT against pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = {r.name: str(r.specifier) for r in map(Requirement, project["dependencies"])}
    assert bounds["torch"] == TORCH_REQUIREMENT
    for name, line in requirements().items():
        assert str(Requirement(line).specifier) == bounds[name]
    assert set(requirements()) | {"scipy"} == set(PACKAGES.values())


@looped(
    ("version", "requirement", "expected"),
    [
        ("2.2", ">=2.2", True),
        ("2.2.0+cu121", ">=2.2", True),
        ("2.10.0", ">=2.2", True),
        ("2.1.9", ">=2.2", False),
        ("10.0", "scipy>=9.5", True),
        ("3", ">=2.2", True),
        ("2", ">=2.2", False),
        ("2.9.0rc1", ">=2.2", True),
        ("?", ">=2.2", True),
        ("1.0", "scipy", True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, requirement: str, expected: bool) -> None:
    assert isAtLeast(version, requirement) is expected


def test_the_real_installer_is_asked_through_slicer(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors is "missing", and slicer.packaging as a stand-in notes what is asked for."""
    from LiverTumorSegSlicer.environment.installer import SlicerInstaller

    packaging = ModuleType("slicer.packaging")
    calls: list[Any] = []
    packaging.pip_ensure = lambda lines, **options: calls.append((lines, options))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    environment = Environment(FakePackages("safetensors"), SlicerInstaller())
    outcome = environment.installMissing(isAsked=True)
    assert outcome.kind == "restart", "nothing was put in place"
    ((lines, options),) = calls
    assert lines == ["safetensors>=0.4"]
    assert options["prompt_install"] is False
    assert environment_module.REQUIREMENTS_FILE.is_file()


def test_models_are_imported_and_removed_through_the_catalog(tmp_path: Path) -> None:
    from random_model import save_random_model

    source = save_random_model(tmp_path / "mine.safetensors")
    environment, _ = environmentOf(FakePackages(), tmp_path / "models")
    assert environment.modelFolder() == tmp_path / "models"
    entry = environment.importModel(source, name="mine")
    assert [model.name for model in environment.models()] == ["m", "mine"]
    assert entry.file.path.parent == tmp_path / "models"
    environment.removeModel("mine")
    assert [model.name for model in environment.models()] == ["m"]
    with pytest.raises(ValueError, match="came with"):
        environment.removeModel("m")
