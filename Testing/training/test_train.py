"""``python -m training.train`` as it is called, and the recipes it offers."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_threads
from LiverTumorSegLib.model.file import ModelFile, file_sha256
from LiverTumorSegLib.nets import NETS
from looped import looped
from run_folder import history
from toy_slices import write_toy

from training.learn.recipes import RECIPES, SizePhase, SliceRecipe
from training.learn.trainer import Clock
from training.train import main

one_thread = torch_threads.one_thread
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"), windowed=False)


def call(prepared: Path, folder: Path, *options: Any) -> int:
    fixed = ["--recipe", "tour", "--device", "cpu", "--precision", "fp32"]
    return main([str(prepared), "-o", str(folder), *fixed, *map(str, options)])


def stored_recipe(folder: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((folder / "recipe.json").read_text())
    return stored


def change_stored(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """As an older version would have left it."""
    stored = stored_recipe(folder)
    change(stored)
    (folder / "recipe.json").write_text(json.dumps(stored))


def test_a_run_leaves_recipe_history_checkpoint_and_model(prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    assert call(prepared, folder, "--tensorboard") == 0
    names = {path.name for path in folder.iterdir()}
    files = {"recipe.json", "history.jsonl", "last.pt", "best.safetensors"}
    assert names == {*files, "tensorboard"}
    assert len(history(folder)) == RECIPES["tour"].epochs
    recipe = json.loads(json.dumps(asdict(RECIPES["tour"])))
    assert stored_recipe(folder) == {"init": None, **recipe}
    bundle = ModelFile.load(folder / "best.safetensors")
    assert bundle.spec.provenance["recipe"] == recipe
    logits = bundle.build_net()(torch.rand(1, 1, 64, 64))
    assert logits.shape == (1, 3, 64, 64)


def test_options_change_the_recipe(prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = ("--epochs", 1, "--seed", 7, "--learning-rate", 1e-5, "--width", 4, "--ema", 0.5)
    assert call(prepared, folder, *options) == 0
    recipe = stored_recipe(folder)
    assert (recipe["epochs"], recipe["seed"], recipe["learning_rate"]) == (1, 7, 1e-5)
    assert recipe["net_args"] == {"width": 4, "attention_dropout": 0.0}
    assert recipe["ema"] == 0.5
    assert len(history(folder)) == 1


def test_one_size_throughout(prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert call(prepared, folder, "--epochs", 2, "--size-px", 32) == 0
    assert stored_recipe(folder)["stages"] == [{"size_px": 32, "share": 1.0}]
    assert [line["size_px"] for line in history(folder)] == [32, 32]
    spec = ModelFile.load(folder / "best.safetensors").spec
    assert (spec.preprocessing["size_px"], spec.preprocessing["grid_px"]) == (32, 64)


def test_a_run_begun_before_an_update_goes_on(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert call(prepared, folder, "--epochs", 1) == 0

    def without_the_new(stored: dict[str, Any]) -> None:
        del stored["init"], stored["ema"], stored["loss"]["tversky"]

    change_stored(folder, without_the_new)
    assert call(prepared, folder, "--epochs", 1) == 0
    assert len(history(folder)) == 1
    assert call(prepared, folder, "--epochs", 1, "--ema", 0.5) == 2
    assert "another recipe" in capsys.readouterr().err


def test_a_folder_with_another_recipe_is_refused(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert call(prepared, folder, "--epochs", 1) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    assert call(prepared, folder, "--epochs", 2) == 2
    said = capsys.readouterr().err
    assert "another recipe" in said
    assert "name a new folder" in said
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert call(prepared, folder, "--epochs", 1) == 0


def test_minutes_stop_a_run(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, looks = tmp_path / "run", Counter[int]()

    def a_twentieth_second_a_look(clock: Clock) -> float:
        looks[id(clock)] += 1
        return clock.before_s + looks[id(clock)] / 20

    monkeypatch.setattr(Clock, "_now_s", property(a_twentieth_second_a_look))
    assert call(prepared, folder, "--epochs", 1, "--minutes", 0.02) == 0
    lines = history(folder)
    assert 1 < len(lines) < 5  # minutes count in place of epochs
    assert lines[-1]["learning_rate"] < 0.5 * max(line["learning_rate"] for line in lines)
    assert call(prepared, folder, "--epochs", 1, "--minutes", 0.02) == 0
    assert len(history(folder)) <= len(lines) + 1  # at most a last moment was left


@pytest.mark.slow
def test_torchrun_starts_processes_of_one_run(prepared: Path, tmp_path: Path) -> None:
    """The command of the module docstring; one process then finds the run finished."""
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words += ["-m", "training.train", str(prepared), "-o", str(tmp_path / "run")]
    paths = os.pathsep.join((str(ROOT / "LiverTumorSeg"), str(ROOT)))
    for _ in range(2):  # on a busy machine PyTorch's own threads may abort at the very exit, rarely
        done = subprocess.run(
            [sys.executable, *words, "--recipe", "tour", "--epochs", "1", "--device", "cpu"],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if "terminate called without an active exception" not in done.stderr:
            break
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("batch norm is not synchronized: each of the 2 processes") == 1
    assert "Warning" not in done.stderr
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"recipe.json", "history.jsonl", "last.pt", "best.safetensors"}
    assert [line["processes"] for line in history(tmp_path / "run")] == [2]
    assert call(prepared, tmp_path / "run", "--epochs", 1) == 0
    assert len(history(tmp_path / "run")) == 1


def parameters(bundle: ModelFile) -> dict[str, torch.Tensor]:
    return dict(bundle.build_net().named_parameters())


@pytest.fixture(scope="module")
def model(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model twice as wide as the recipe's own."""
    folder = tmp_path_factory.mktemp("model")
    assert call(prepared, folder, "--epochs", 1, "--width", 16) == 0
    return folder / "best.safetensors"


def test_init_goes_on_from_a_models_weights(prepared: Path, tmp_path: Path, model: Path) -> None:
    options = ("--epochs", 1, "--learning-rate", 1e-12, "--seed", 5)
    assert call(prepared, tmp_path / "run", "--init", model, *options) == 0
    begun = parameters(ModelFile.load(model))
    ended = parameters(ModelFile.load(tmp_path / "run" / "best.safetensors"))
    assert begun.keys() == ended.keys()
    for name, parameter in begun.items():
        assert torch.allclose(parameter, ended[name], atol=1e-7, rtol=0), name


def test_init_takes_the_net_from_the_model_not_from_the_recipe(
    prepared: Path, tmp_path: Path, model: Path
) -> None:
    assert RECIPES["tour"].net_args["width"] == 8
    assert call(prepared, tmp_path / "run", "--init", model, "--epochs", 1) == 0
    assert stored_recipe(tmp_path / "run")["net_args"]["width"] == 16


def with_words(model: Path, path: Path, **provenance: Any) -> Path:
    """The model as if it had been trained on other cases."""
    bundle = ModelFile.load(model)
    told = {**bundle.spec.provenance, **provenance}
    ModelFile(replace(bundle.spec, provenance=told), bundle.state).save(path)
    return path


def test_init_is_told_with_what_it_was_trained_on(
    prepared: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = with_words(model, tmp_path / "m.safetensors", train=["77"], train_groups=["anna"])
    assert call(prepared, tmp_path / "run", "--init", other, "--epochs", 1) == 0
    told = ModelFile.load(tmp_path / "run" / "best.safetensors").spec.provenance
    words = {"name": "hybrid2d", "version": "0", "sha256": file_sha256(other)}
    assert told["init"] == stored_recipe(tmp_path / "run")["init"] == words
    assert (told["train"], told["train_groups"]) == (["1", "77"], ["p1", "anna"])
    assert "validation set" not in capsys.readouterr().err


def test_a_run_goes_on_with_the_init_it_was_begun_with(
    prepared: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else its model file would forget what its weights have seen."""
    run, options = tmp_path / "run", ("--epochs", 1, "--width", 16)
    other = with_words(model, tmp_path / "m.safetensors", train=["77"])
    assert call(prepared, run, "--init", model, *options) == 0
    for wrong in ((), ("--init", other)):
        assert call(prepared, run, *wrong, *options) == 2
        assert "another recipe" in capsys.readouterr().err
    assert call(prepared, run, "--init", model, *options) == 0
    change_stored(run, lambda stored: stored.pop("init"))
    assert call(prepared, run, "--init", model, *options) == 0  # an older version's run


def test_an_init_that_knows_validation_cases_is_told_of(
    prepared: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaking = with_words(model, tmp_path / "m.safetensors", train_groups=["p2"])
    assert call(prepared, tmp_path / "run", "--init", leaking, "--epochs", 1) == 0
    assert "was trained on patients of the validation set" in capsys.readouterr().err


def test_init_with_another_width_is_refused(
    prepared: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(prepared, tmp_path / "run", "--init", model, "--width", 8) == 2
    assert "leave out --width" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@looped("fault", ["no model", "no data", "no windowed", "width", "size", "8 px", "ema"])
def test_what_cannot_work_ends_with_2_and_a_sentence(
    fault: str, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    if fault == "no model":
        code = call(prepared, run, "--init", tmp_path / "none.safetensors")
    elif fault == "no data":
        code = call(tmp_path, run)
    elif fault == "width":
        code = call(prepared, run, "--width", 7)
    elif fault == "size":
        code = call(prepared, run, "--size-px", 48)
    elif fault == "8 px":
        code = call(prepared, run, "--size-px", 4)
    elif fault == "ema":
        code = call(prepared, run, "--ema", 1)
    else:  # the recipe shifts HU, which needs the slices before CLAHE
        code = main([str(prepared), "-o", str(run), "--recipe", "cpu", "--device", "cpu"])
    said = {
        "no model": "no such model file",
        "no data": "training.prepare first",
        "no windowed": "--windowed",
        "width": "use 8",
        "size": "64 px cannot be shrunk evenly to 48",
        "8 px": "give 8 to 2048",
        "ema": "less than 1",
    }
    assert code == 2
    assert said[fault] in capsys.readouterr().err
    assert not run.exists()


class _Evil:
    """A pickle that would write a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_run_folder_that_was_damaged_is_refused_in_a_sentence_and_runs_no_code(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, ran = tmp_path / "run", tmp_path / "ran"
    assert call(prepared, run, "--epochs", 1) == 0
    whole = {name: (run / name).read_bytes() for name in ("last.pt", "recipe.json")}
    torch.save({"epoch": 1, "net": [1, 2]}, tmp_path / "foreign.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save(_Evil(ran), tmp_path / "evil.pt")
    damaged = {
        "last.pt": (
            *(b"", b"text", pickle.dumps(_Evil(ran)), whole["last.pt"][:5000]),
            *((tmp_path / f"{name}.pt").read_bytes() for name in ("foreign", "list", "evil")),
        ),
        "recipe.json": (b"", whole["recipe.json"][:40], b"[]", b"[" * 100_000),
    }
    for name, contents in damaged.items():
        for content in contents:
            (run / name).write_bytes(content)
            capsys.readouterr()
            assert call(prepared, run, "--epochs", 1) == 2, content[:20]
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith(name)
            assert line.endswith(("new folder.", "new folder with -o."))
            assert (run / name).read_bytes() == content
        (run / name).write_bytes(whole[name])
    assert not ran.exists()
    assert call(prepared, run, "--epochs", 1) == 0


def test_prepared_data_that_were_damaged_are_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_toy(tmp_path / "toy", windowed=False)
    labels, manifest = data / "1" / "labels.npy", data / "manifest.json"
    nines = np.load(labels)
    nines[0, 0, 0] = 9
    np.save(tmp_path / "nines.npy", nines)
    evil = np.array([_Evil(tmp_path / "ran")], dtype=object)
    np.save(tmp_path / "evil.npy", evil, allow_pickle=True)
    without_cases = {**json.loads(manifest.read_text()), "cases": None}
    for path, content in (
        (labels, (tmp_path / "nines.npy").read_bytes()),
        (labels, (tmp_path / "evil.npy").read_bytes()),
        (labels, labels.read_bytes()[:-100]),
        (labels, b""),
        (manifest, json.dumps(without_cases).encode()),
        (manifest, b"{}"),
        (manifest, b"[" * 100_000),
    ):
        whole = path.read_bytes()
        path.write_bytes(content)
        capsys.readouterr()
        assert call(data, tmp_path / "run") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(path.name)
        assert line.endswith("run python -m training.prepare again.")
        path.write_bytes(whole)
    assert not (tmp_path / "ran").exists()


def test_the_papers_recipe_has_the_papers_numbers() -> None:
    """II.C to III.C and Tables 1 to 3 of Bader & Jarjees."""
    paper = RECIPES["paper"]
    assert paper == SliceRecipe()
    assert (paper.learning_rate, paper.weight_decay) == (1e-4, 1e-5)
    assert (paper.batch, paper.epochs, paper.clip_norm) == (8, 100, 1.0)
    assert (paper.schedule, paper.plateau_factor, paper.plateau_patience) == ("plateau", 0.5, 5)
    assert (paper.select, paper.seed) == ("loss", 42)
    assert paper.stages == (SizePhase(size_px=256, share=1.0),)
    loss = paper.loss
    assert (loss.cross_entropy, loss.dice, loss.focal) == (1.0, 1.0, 0.5)
    assert (loss.focal_alpha, loss.focal_gamma, loss.smoothing) == (0.25, 2.0, 1e-6)
    assert (loss.tversky, paper.ema) == (0.0, 0.0)
    assert paper.sampling.liver_free_share == 0  # it leaves those slices out
    assert paper.sampling.tumor_share is None
    assert paper.hu_shift == 0
    augment = paper.augmentation
    chances = (augment.horizontal_flip_p, augment.vertical_flip_p, augment.rotation_p)
    assert chances == (0.5, 0.3, 0.5)
    assert (augment.rotation_deg, augment.brightness_limit, augment.contrast_limit) == (
        25,
        0.2,
        0.2,
    )
    with torch.device("meta"):
        net = NETS[paper.net](**paper.net_args)
    assert sum(p.numel() for p in net.parameters()) == 20_835_779


def test_recipes_of_cpu_recall_and_whole_scans_differ_as_they_say() -> None:
    # the whole scan recipe adds only the slices without liver
    paper, whole = asdict(RECIPES["paper"]), asdict(RECIPES["whole-scan"])
    assert 0.2 <= whole["sampling"].pop("liver_free_share") <= 0.3
    paper["sampling"].pop("liver_free_share")
    assert whole == paper

    # the cpu recipe goes from 128 to 256 pixels
    recipe = RECIPES["cpu"]
    sizes = [recipe.size_at(n / 1000) for n in range(1001)]
    assert set(sizes) == {128, 256}
    assert sizes == sorted(sizes)
    assert sizes.index(256) == pytest.approx(1000 * recipe.stages[0].share, abs=1)
    assert 0.2 <= recipe.sampling.liver_free_share <= 0.3

    # the recall recipe is the cpus with a tversky term
    recall, cpu = (asdict(RECIPES[name]) for name in ("recall", "cpu"))
    assert recall["loss"].pop("tversky") > 0
    assert cpu["loss"].pop("tversky") == 0
    assert recall == cpu
    assert recall["loss"]["tversky_beta"] > recall["loss"]["tversky_alpha"]


@looped("name", RECIPES)
def test_every_recipe_can_be_built_and_stored(name: str) -> None:
    recipe = RECIPES[name]
    assert sum(stage.share for stage in recipe.stages) == pytest.approx(1)
    assert recipe.schedule in ("plateau", "cosine")
    assert recipe.select in ("loss", "dice")
    with torch.device("meta"):
        NETS[recipe.net](**recipe.net_args)
    json.dumps(asdict(recipe))


def test_stages_that_add_up_by_rounding_still_end_with_the_last() -> None:
    recipe = SliceRecipe(stages=tuple(SizePhase(size_px=64 * n, share=0.1) for n in range(1, 11)))
    assert [recipe.size_at(n / 10) for n in range(11)] == [*(64 * n for n in range(1, 11)), 640]
