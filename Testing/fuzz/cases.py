"""What is fuzzed: of each kind of input one whole example, and how a changed one is used.

    case = KINDS["nifti"](Path("home"))         # lays the example out once
    case(random.Random(7), Path("place"))       # changes it, and uses it from place

A case raises what the product says of its input, and nothing when it was taken.
"""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cascade_model import save_cascade
from command_line import save_ct, save_model, some_hu
from LiverTumorSegLib.ct.read import read_input
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.preprocess_liver_box import LiverBoxPreprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.inference.region import CascadeSettings
from LiverTumorSegLib.inference.segmenter import load_segmenter
from LiverTumorSegLib.model.catalog import (
    damaged_records,
    find_model,
    import_model,
    installed_models,
)
from LiverTumorSegLib.result.lesions import measure
from LiverTumorSegLib.result.measured import MeasuredLabels
from LiverTumorSegLib.result.report import render_report
from LiverTumorSegLib.result.stored import read_result
from LiverTumorSegLib.settings import RunSettings

from Testing.fuzz.mutate import changed_bytes, changed_values

Case = Callable[[random.Random, Path], object]
SHAPE_IJK = (40, 40, 6)
ALL_SETTINGS = (
    SlicePreprocessing,
    VolumePreprocessing,
    LiverBoxPreprocessing,
    CascadeSettings,
    Decision,
    Postprocessing,
    RunSettings,
)


def _read_and_measure(path: Path) -> None:
    """What is read can be measured too, with a box as its liver and one as its tumor."""
    ct, _ = read_input(path)
    labels = np.zeros(ct.shape_kji, np.uint8)
    k, j, i = (np.array(ct.shape_kji) // 4).tolist()
    labels[k : 3 * k + 1, j : 3 * j + 1, i : 3 * i + 1] = 1
    labels[k : 2 * k + 1, j : 2 * j + 1, i : 2 * i + 1] = 2
    measure(labels, ct)


def nifti_files(home: Path) -> Case:
    """NIfTI files, packed and not."""
    data = save_ct(home / "ct.nii", some_hu(SHAPE_IJK)).read_bytes()

    def case(random: random.Random, place: Path) -> None:
        changed = changed_bytes(data, random, hot=352)
        is_zipped = random.random() < 0.3
        path = place / ("ct.nii.gz" if is_zipped else "ct.nii")
        path.write_bytes(gzip.compress(changed, 1) if is_zipped else changed)
        _read_and_measure(path)

    return case


def dicom_folders(home: Path) -> Case:
    """Folders of DICOM files, one of them changed or all alike."""
    from dicom_files import save_series, some_ct

    files = [path.read_bytes() for path in save_series(home / "ser", some_ct(), only=range(4))]

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
        _read_and_measure(place / "study")

    return case


def _formats(name: str, end_of_header: bytes) -> Callable[[Path], Case]:
    def make(home: Path) -> Case:
        import SimpleITK

        image: Any = SimpleITK.GetImageFromArray(some_hu(SHAPE_IJK).T.copy())
        SimpleITK.WriteImage(image, str(home / name))
        data = (home / name).read_bytes()
        head = data.index(end_of_header)

        def case(random: random.Random, place: Path) -> None:
            (place / name).write_bytes(changed_bytes(data, random, hot=head))
            _read_and_measure(place / name)

        return case

    return make


def _models(save: Callable[[Path], Path]) -> Callable[[Path], Case]:
    """Model files: their words seven times of ten, else their bytes."""

    def make(home: Path) -> Case:
        data = save(home / "m.safetensors").read_bytes()
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
            load_segmenter(RunSettings(model=str(place / "m.safetensors"), device="cpu"))

        return case

    return make


def catalogs(home: Path) -> Case:
    """A damaged record leaves the other models listed, and is refused where it is asked for."""
    folder = home / "models"
    import_model(save_model(home / "m.safetensors"), folder, name="mine")
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

    return case


def settings(home: Path) -> Case:
    """What is accepted is stored and read back as it was."""

    def case(random: random.Random, place: Path) -> None:
        kind: Any = random.choice(ALL_SETTINGS)
        stored = changed_values(json.loads(json.dumps(kind().to_dict())), random)
        settings = kind.from_dict(stored)
        assert kind.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings

    return case


def results(home: Path) -> Case:
    """Result folders whose record or labels are no longer what was written."""
    ct_path = save_ct(home / "ct.nii", some_hu(SHAPE_IJK))
    ct, _ = read_input(ct_path)
    labels = np.zeros(ct.shape_kji, np.uint8)
    labels[:, 10:30, 10:30], labels[2:4, 12:16, 12:16] = 1, 2
    (home / "result").mkdir()
    MeasuredLabels.of(ct, labels, ()).write(home / "result")
    text = (home / "result" / "lesions.json").read_bytes()
    record, label_bytes = json.loads(text), (home / "result" / "seg.nii.gz").read_bytes()

    def case(random: random.Random, place: Path) -> None:
        changed, map_bytes = text, label_bytes
        what = random.random()
        if what < 0.6:
            changed = json.dumps(changed_values(record, random)).encode()
        elif what < 0.8:
            changed = changed_bytes(text, random, hot=len(text))
        else:
            map_bytes = changed_bytes(label_bytes, random, hot=len(label_bytes))
        (place / "lesions.json").write_bytes(changed)
        (place / "seg.nii.gz").write_bytes(map_bytes)
        stored = read_result(place, ct_path)
        if random.random() < 0.1:
            render_report(stored)

    return case


KINDS: dict[str, Callable[[Path], Case]] = {
    "nifti": nifti_files,
    "dicom": dicom_folders,
    "nrrd": _formats("ct.nrrd", b"\n\n"),
    "mha": _formats("ct.mha", b"ElementDataFile"),
    "model": _models(save_model),
    "cascade": _models(save_cascade),
    "catalog": catalogs,
    "settings": settings,
    "result": results,
}
