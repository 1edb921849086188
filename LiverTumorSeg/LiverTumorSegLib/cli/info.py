"""``livertumorseg info``: what a CT or a model file holds, in a few lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from LiverTumorSegLib.ct.dicom import read_series
from LiverTumorSegLib.ct.read import choose_series, read_input, series_in
from LiverTumorSegLib.model.catalog import ModelEntry, installed_models
from LiverTumorSegLib.model.spec import ALL, ModelSpec, file_sha256, read_spec, stage_of
from LiverTumorSegLib.volume import CtVolume


def describe_file(path: Path, series: int | None = None, model_folder: Path | None = None) -> str:
    """Text about a NIfTI CT, a folder of DICOM, a ``.safetensors`` model, or a model of that name.

    series: the one of a folder to tell of, from 1; without it, several are listed only.
    model_folder: of imported models. Errors as the readers raise them.
    """
    if not path.exists():
        for entry in installed_models(model_folder):
            if entry.name == str(path):
                return _describe_entry(entry)
    if path.suffix == ".safetensors":
        return _describe_model(path)
    if not path.is_dir():
        ct, warnings = read_input(path, series)
    else:
        found = series_in(path)
        if series is None and len(found) > 1:
            lines = [f"{n:3d}  {one.describe()}" for n, one in enumerate(found, 1)]
            return "\n".join([f"{len(found)} CT series; choose one with --series", *lines])
        ct, warnings = read_series(choose_series(found, series))
    return "\n".join([_describe_ct(ct), *(f"Warning: {text}" for text in warnings)])


def _describe_ct(ct: CtVolume) -> str:
    k, j, i = ct.shape_kji
    sk, sj, si = ct.spacing_kji_mm
    lps, turn = ct.to_lps()
    axial = "ijk"[2 - turn.order_kji[0]]
    return "\n".join(
        [
            f"CT of {i} x {j} x {k} voxels (i, j, k), {si:.3f} x {sj:.3f} x {sk:.3f} mm",
            f"{lps.shape_kji[0]} axial slices along {axial}",
            f"{int(ct.hu.min())} to {int(ct.hu.max())} HU",
        ]
    )


def _describe_entry(entry: ModelEntry) -> str:
    """What the catalog says, then what the file says."""
    scores = [f"{name}: {value}" for name, value in entry.scores.items()]
    head = [f"{entry.title}. {entry.summary}", f"License: {entry.licence}", *scores]
    return "\n\n".join(["\n".join(head), _describe_model(entry.file.path)])


def _describe_model(path: Path) -> str:
    spec = read_spec(path)
    stage = stage_of(spec)
    rows: list[tuple[str, Any]] = [
        ("model", f"{spec.name} {spec.version}"),
        *([("part", f"the {stage} network of a cascade; join it with the other")] if stage else []),
        ("SHA-256", file_sha256(path)),
        *(row for name, one in spec.networks.items() for row in _network_rows(name, one)),
        *([("cascade", json.dumps(spec.cascade))] if spec.cascade else []),
        *([("decision", json.dumps(spec.decision))] if spec.decision else []),
        ("postprocessing", json.dumps(spec.postprocessing)),
        ("labels", json.dumps(spec.labels)),
        ("trained on HU", _range(spec)),
        ("storage", spec.storage),
        *((key, _short(value)) for key, value in spec.provenance.items()),
    ]
    return "\n".join(f"{name:<16} {value}" for name, value in rows)


def _network_rows(name: str, spec: ModelSpec) -> list[tuple[str, Any]]:
    """A model's only network, or one of a cascade's two with its place."""
    place = "" if name == ALL else f"{name}: "
    return [
        ("network", f"{place}{spec.net} {json.dumps(spec.net_args)}"),
        ("preprocessing", f"{place}{json.dumps(spec.preprocessing)}"),
    ]


def _range(spec: ModelSpec) -> str:
    if spec.training_hu_range is None:
        return "not stated"
    return "{:.0f} to {:.0f}".format(*spec.training_hu_range)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 300 else text[:297] + "..."
