"""The shipped form of a trained model says what it is and what its storage costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cascade_model import save_halves
from LiverTumorSegLib.ct.nifti import write_ct, write_labels
from LiverTumorSegLib.inference.cascade import Cascade
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.segmenter import load_segmenter
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.model.spec import ModelSpec, file_sha256
from LiverTumorSegLib.nets import NETS
from LiverTumorSegLib.phantom.phantom import make_phantom
from LiverTumorSegLib.settings import RunSettings
from LiverTumorSegLib.volume import CtVolume

from training.data.slices import load_split
from training.export import main
from training.learn.recipes import SliceRecipe
from training.learn.trainer import SliceTrainer

PREPROCESSING = SlicePreprocessing(grid_px=64, size_px=64)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a best epoch."""
    net_args = {"width": 8, "size_px": 64}
    spec = ModelSpec(
        name="hybrid2d",
        version="0",
        net="hybrid2d",
        net_args=net_args,
        preprocessing=PREPROCESSING.to_dict(),
        labels={label.name.lower(): int(label) for label in Label},
        training_hu_range=(-40, 160),
        postprocessing=Postprocessing().to_dict(),
        provenance={"train": ["0"], "val": ["3"]},
        storage="fp32",
    )
    folder = tmp_path / "run"
    folder.mkdir()
    bundle = ModelFile(spec, dict(NETS["hybrid2d"](**net_args).state_dict()))
    bundle.save(folder / "best.safetensors")
    return folder


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    folder = tmp_path / "prepared"
    (folder / "3").mkdir(parents=True)
    random = np.random.default_rng(0)
    np.save(folder / "3" / "images.npy", random.integers(0, 256, (5, 64, 64), np.uint8))
    np.save(folder / "3" / "labels.npy", random.integers(0, 3, (5, 64, 64), np.uint8))
    manifest = {
        "preprocessing": PREPROCESSING.to_dict(),
        "windowed": False,
        "hu_range": [-40, 160],
        "cases": [{"name": "3", "split": "val"}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_names_licence_and_the_price_of_int8(
    run: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.safetensors"
    code = main([str(run), "-o", str(out), "--name", "small", "--prepared", str(prepared)])
    assert code == 0
    printed = json.loads(capsys.readouterr().out)
    bundle = ModelFile.load(out, sha256=printed["sha256"])
    assert (bundle.spec.name, bundle.spec.storage) == ("small", "int8")
    assert bundle.spec.provenance["train"] == ["0"]
    assert bundle.spec.provenance["licence"] == "CC BY-NC-SA 4.0"
    measured = bundle.spec.provenance["validation_slices_dice"]
    assert set(measured) == {"fp32", "int8"}
    assert printed["bytes"] == out.stat().st_size


def test_the_licence_is_the_one_that_is_named(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.safetensors"
    assert main([str(run), "-o", str(out), "--name", "own", "--licence", "CC0-1.0"]) == 0
    assert ModelFile.load(out).spec.provenance["licence"] == "CC0-1.0"


def test_fp32_form_has_the_very_weights(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "full.safetensors"
    assert main([str(run), "-o", str(out), "--name", "full", "--storage", "fp32"]) == 0
    before = ModelFile.load(run / "best.safetensors").state
    after = ModelFile.load(out).state
    assert all((before[name] == after[name]).all() for name in before)


def test_a_folder_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.safetensors"
    assert main([str(tmp_path), "-o", str(out), "--name", "m"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()


def test_the_file_says_how_bright_the_livers_of_its_training_were(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the training cases alone; tumors and slices without liver do not count."""
    phantom = make_phantom(seed=0, n_tumors=2, shape_kji=(40, 96, 96), spacing_kji_mm=(6, 4, 4))
    median = float(np.median(phantom.ct.hu[phantom.labels == Label.LIVER]))
    data = tmp_path / "lits"
    data.mkdir()
    for number, shift in ((0, 0), (1, 30), (3, -50)):
        ct = CtVolume(phantom.ct.hu + np.int16(shift), phantom.ct.ijk_to_ras)
        write_ct(data / f"volume-{number}.nii.gz", ct)
        write_labels(data / f"segmentation-{number}.nii.gz", phantom.labels, ct)
    trained = ModelFile.load(run / "best.safetensors")
    words = {**trained.spec.provenance, "train": ["0", "0-context", "1"]}
    ModelFile(replace(trained.spec, provenance=words), trained.state).save(
        tmp_path / "m.safetensors"
    )
    told, silent = tmp_path / "told.safetensors", tmp_path / "silent.safetensors"
    command = [str(tmp_path / "m.safetensors"), "--name", "m"]
    assert main([*command, "-o", str(told), "--livers", str(data)]) == 0
    assert main([*command, "-o", str(silent)]) == 0
    low, high = (np.floor(median), np.floor(median + 30) + 1)
    assert ModelFile.load(told).spec.trained_liver_hu == (low, high)
    assert ModelFile.load(silent).spec.trained_liver_hu is None
    (data / "volume-0.nii.gz").unlink(), (data / "volume-1.nii.gz").unlink()
    (data / "segmentation-0.nii.gz").unlink(), (data / "segmentation-1.nii.gz").unlink()
    capsys.readouterr()
    assert main([*command, "-o", str(tmp_path / "x.safetensors"), "--livers", str(data)]) == 2
    assert "no labeled liver that the model was trained on" in capsys.readouterr().err


CHOSEN = Decision(tumor_threshold=0.7, smoothing_mm=4.0, calibration=(1.2, -0.3))
CLEANED = Postprocessing(smallest_lesion_mm=7.0, max_distance_to_liver_mm=10.0)


def write_choice_of(path: Path, sha256: str, **how: Any) -> Path:
    stored = {
        "decision": CHOSEN.to_dict(),
        "postprocessing": CLEANED.to_dict(),
        "how": {"sha256": sha256, "cases": ["3", "23"], "settings_tried": 42, **how},
    }
    path.write_text(json.dumps(stored))
    return path


def test_a_choice_goes_into_the_file_and_is_what_runs(run: Path, tmp_path: Path) -> None:
    choice = write_choice_of(tmp_path / "choice.json", file_sha256(run / "best.safetensors"))
    out = tmp_path / "m.safetensors"
    assert main([str(run), "-o", str(out), "--name", "m", "--choice", str(choice)]) == 0
    segmenter = load_segmenter(RunSettings(model=str(out), device="cpu"))
    assert segmenter.describe()["decision"] == CHOSEN.to_dict()
    assert segmenter.postprocessing == CLEANED
    provenance = ModelFile.load(out).spec.provenance
    assert provenance["chosen"]["cases"] == ["3", "23"]
    assert provenance["chosen"]["settings_tried"] == 42
    assert provenance["train"] == ["0"]


def test_without_a_choice_the_likeliest_class_wins(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    assert main([str(run), "-o", str(out), "--name", "m"]) == 0
    assert (
        load_segmenter(RunSettings(model=str(out), device="cpu")).describe()["decision"]
        == Decision().to_dict()
    )
    assert "chosen" not in ModelFile.load(out).spec.provenance


def test_a_choice_for_other_weights(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those of the same run before it was continued."""
    choice = write_choice_of(tmp_path / "choice.json", file_sha256(run / "best.safetensors"))
    best = ModelFile.load(run / "best.safetensors")
    name = next(iter(best.state))
    ModelFile(best.spec, {**best.state, name: best.state[name] + 1}).save(run / "best.safetensors")
    out = tmp_path / "m.safetensors"
    assert main([str(run), "-o", str(out), "--name", "m", "--choice", str(choice)]) == 2
    assert "other weights" in capsys.readouterr().err
    assert not out.exists()


def test_two_networks_become_one_file_and_its_choice_goes_into_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The liver's run comes first; the choice is for the file that both are in."""
    halves = [str(half) for half in save_halves(tmp_path / "halves")]
    pair, out = tmp_path / "pair.safetensors", tmp_path / "final.safetensors"
    options = ["--margin-mm", "12", "--closing-mm", "7", "--join-liver", "--storage", "fp32"]
    assert main([*halves, "-o", str(pair), "--name", "pair", *options]) == 0
    worker = load_segmenter(RunSettings(model=str(pair), device="cpu"))
    assert isinstance(worker.network, Cascade)
    settings = worker.network.settings
    assert (settings.margin_mm, settings.closing_mm, settings.join_liver) == (12.0, 7.0, True)
    choice = write_choice_of(tmp_path / "choice.json", file_sha256(pair), liver_margin_mm=12.0)
    joined = [str(pair), "-o", str(out), "--name", "final", "--choice", str(choice)]
    assert main([*joined, "--storage", "fp32"]) == 0
    worker = load_segmenter(RunSettings(model=str(out), device="cpu"))
    assert (worker.decision, worker.postprocessing) == (CHOSEN, CLEANED)
    assert worker.preprocessing.liver_margin_mm == 12.0  # type: ignore[union-attr]
    before, after = ModelFile.load(pair).state, ModelFile.load(out).state
    assert all((before[name] == after[name]).all() for name in before)
    capsys.readouterr()
    for wrong, words in (
        ([*halves, "-o", str(out), "--name", "m", "--choice", str(choice)], "Join the two"),
        ([*halves, "-o", str(out), "--name", "m", "--prepared", str(tmp_path)], "each alone"),
        ([*halves, halves[0], "-o", str(out), "--name", "m"], "answer together"),
        ([*halves[::-1], "-o", str(out), "--name", "m"], "is not the liver network"),
    ):
        assert main(wrong) == 2
        assert words in capsys.readouterr().err


def test_slices_are_measured_at_the_size_that_was_trained(
    run: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run at half the prepared size is fed half of it."""
    best = ModelFile.load(run / "best.safetensors")
    spec = replace(best.spec, preprocessing={**best.spec.preprocessing, "size_px": 32})
    ModelFile(spec, best.state).save(run / "best.safetensors")
    out = tmp_path / "m.safetensors"
    arguments = [str(run), "-o", str(out), "--name", "m", "--storage", "fp32"]
    assert main([*arguments, "--prepared", str(prepared), "--device", "cpu"]) == 0
    measured = json.loads(capsys.readouterr().out)["validation_slices_dice"]["fp32"]
    data = load_split(prepared, "val")
    trainer = SliceTrainer(
        SliceRecipe(net=spec.net, net_args=spec.net_args), data, device="cpu", bf16=False
    )
    trainer.net.load_state_dict(best.state)
    facts = {size: trainer.validate(data, size) for size in (32, 64)}
    assert measured["liver"] == pytest.approx(facts[32]["val_liver_dice"], abs=1e-4)
    assert measured["tumor"] == pytest.approx(facts[32]["val_tumor_dice"], abs=1e-4)
    assert facts[32] != facts[64]
