"""Damaged and hostile inputs, by the hundreds: each is read, or refused in one sentence.

    python -m pytest -m slow -s Testing/fuzz                                   300 of each kind
    LIVERTUMORSEG_FUZZ=10000 python -m pytest -m slow -s Testing/fuzz          10,000
    LIVERTUMORSEG_FUZZ_SEED=7 python -m pytest -m slow -s Testing/fuzz         others

A case is made from the seed, the kind and its number alone, so that a failure comes again.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import save_ct, save_model, some_hu
from dicom_files import save_series, some_ct
from LiverTumorSegLib.ct.read import read_input
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.inference.segmenter import load_segmenter
from LiverTumorSegLib.model.catalog import (
    damaged_records,
    find_model,
    import_model,
    installed_models,
)
from LiverTumorSegLib.result.lesions import measure
from mutate import changed_bytes, changed_values
from worker import KINDS, run_cases

COUNT = int(os.environ.get("LIVERTUMORSEG_FUZZ", "300"))
SEED = os.environ.get("LIVERTUMORSEG_FUZZ_SEED", "1")
SHAPE_IJK = (24, 20, 6)

Case = Callable[[random.Random, Path], object]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(0),
    pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them"),
]
table: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def table_of_outcomes() -> Iterator[None]:
    yield
    head = f"{'':10}" + "".join(f"{kind:>23}" for kind in KINDS)
    print("\n".join(["", head, *table]))


def held(name: str, case: Case, home: Path, count: int = COUNT) -> None:
    """Run the cases, note what came of them, and fail with the numbers of those not survived."""
    place = home / "DOE_JANE"
    place.mkdir()

    def one(number: int) -> object:
        return case(random.Random(f"{SEED} {name} {number}"), place)

    outcomes = run_cases(one, count, secret="DOE_JANE")
    counts = Counter(outcome.kind for outcome in outcomes.values())
    table.append(f"{name:10}" + "".join(f"{counts[kind]:>23}" for kind in KINDS))
    failed = {n: o for n, o in outcomes.items() if not o.is_survived}
    assert not failed, f"seed {SEED}, {name}: " + "; ".join(
        f"{number}: {outcome.kind} {outcome.text[:200]}" for number, outcome in failed.items()
    )
    assert counts["refused in a sentence"] > count // 20, "the changes are too harmless to test"


def read_and_measure(path: Path) -> None:
    """What is read can be measured too, with a box as its liver and one as its tumor."""
    ct, _ = read_input(path)
    labels = np.zeros(ct.shape_kji, np.uint8)
    k, j, i = (np.array(ct.shape_kji) // 4).tolist()
    labels[k : 3 * k + 1, j : 3 * j + 1, i : 3 * i + 1] = 1
    labels[k : 2 * k + 1, j : 2 * j + 1, i : 2 * i + 1] = 2
    measure(labels, ct)


def test_nifti_files(tmp_path: Path) -> None:
    data = save_ct(tmp_path / "ct.nii", some_hu((40, 40, 6))).read_bytes()

    def case(random: random.Random, place: Path) -> None:
        changed = changed_bytes(data, random, hot=352)
        is_zipped = random.random() < 0.3
        path = place / ("ct.nii.gz" if is_zipped else "ct.nii")
        path.write_bytes(gzip.compress(changed, 1) if is_zipped else changed)
        read_and_measure(path)

    held("nifti", case, tmp_path)


def test_dicom_folders(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    files = [path.read_bytes() for path in save_series(tmp_path / "ser", some_ct(), only=range(4))]

    def case(random: random.Random, place: Path) -> None:
        shutil.rmtree(place / "study", ignore_errors=True)
        (place / "study").mkdir()
        chosen = random.randrange(len(files))
        is_all = random.random() < 0.3
        for number, data in enumerate(files):
            if is_all or number == chosen:
                state = random.getstate()
                data = changed_bytes(data, random, hot=1200)
                if is_all:
                    random.setstate(state)  # the same in each
            (place / "study" / str(number)).write_bytes(data)
        read_and_measure(place / "study")

    held("dicom", case, tmp_path)


def test_nrrd_files(tmp_path: Path) -> None:
    sitk: Any = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(some_hu((40, 40, 6)).T.copy())
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    data = (tmp_path / "ct.nrrd").read_bytes()
    head = data.index(b"\n\n")

    def case(random: random.Random, place: Path) -> None:
        (place / "ct.nrrd").write_bytes(changed_bytes(data, random, hot=head))
        read_and_measure(place / "ct.nrrd")

    held("nrrd", case, tmp_path)


def test_model_files(tmp_path: Path) -> None:
    data = save_model(tmp_path / "m.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    spec = json.loads(header["__metadata__"]["spec"])

    def case(random: random.Random, place: Path) -> None:
        changed = data
        if random.random() < 0.7:
            metadata = {"spec": json.dumps(changed_values(spec, random))}
            text = json.dumps({**header, "__metadata__": metadata}).encode()
            changed = len(text).to_bytes(8, "little") + text + data[8 + length :]
        else:
            changed = changed_bytes(data, random, hot=8 + length)
        (place / "m.safetensors").write_bytes(changed)
        load_segmenter(place / "m.safetensors", "cpu")

    held("model", case, tmp_path)


def test_catalogs(tmp_path: Path) -> None:
    """A damaged record leaves the other models listed, and is refused where it is asked for."""
    folder = tmp_path / "models"
    import_model(save_model(tmp_path / "m.safetensors"), folder, name="mine")
    record = json.loads((folder / "mine.model.json").read_text())
    text = json.dumps(record).encode()

    def case(random: random.Random, place: Path) -> None:
        changed = json.dumps(changed_values(record, random)).encode()
        if random.random() < 0.3:
            changed = changed_bytes(text, random, hot=len(text))
        if random.random() < 0.02:
            changed = b"[" * 100_000
        (place / "mine.model.json").write_bytes(changed)
        listed = [entry.name for entry in installed_models(place)]
        assert len(listed) + len(damaged_records(place)) > 1
        find_model("mine", place)

    held("catalog", case, tmp_path)


def test_settings(tmp_path: Path) -> None:
    """What is accepted is stored and read back as it was."""
    all_settings = (SlicePreprocessing, VolumePreprocessing, Decision, Postprocessing)

    def case(random: random.Random, place: Path) -> None:
        kind: Any = random.choice(all_settings)
        stored = changed_values(json.loads(json.dumps(kind().to_dict())), random)
        settings = kind.from_dict(stored)
        assert kind.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings

    held("settings", case, tmp_path)
