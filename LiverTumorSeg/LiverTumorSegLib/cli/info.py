"""``livertumorseg info``: what a CT or a model file holds, in a few lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from LiverTumorSegLib.ct.dicom import read_series
from LiverTumorSegLib.ct.phase import Phase
from LiverTumorSegLib.ct.read import is_folder, read_input
from LiverTumorSegLib.ct.study import (
    ANY_SERIES,
    StudySeries,
    WantedSeries,
    matching,
    propose_series,
    read_study,
)
from LiverTumorSegLib.inference.sensitivity import Sensitivity
from LiverTumorSegLib.model.catalog import ModelEntry, installed_models
from LiverTumorSegLib.model.spec import ALL, ModelSpec, file_sha256, read_spec, stage_of
from LiverTumorSegLib.volume import CtVolume


def describe_file(
    path: Path,
    series: WantedSeries = ANY_SERIES,
    model_folder: Path | None = None,
    phase_of_image: Callable[[StudySeries], Phase] | None = None,
) -> str:
    """Text about a NIfTI CT, a folder of DICOM, a ``.safetensors`` model, or a model of that name.

    phase_of_image: looks at each CT of a folder too.

    series: the one of a folder to describe; several are listed only.
    model_folder: of imported models. Errors as the readers raise them.
    """
    if not path.exists():
        for entry in installed_models(model_folder):
            if entry.name == str(path):
                return _describe_entry(entry)
    if path.suffix == ".safetensors":
        return _describe_model(path)
    if not is_folder(path):
        return _describe_ct(*read_input(path, series))
    entries = read_study(path)
    if phase_of_image is not None:
        entries = [_with_seen_phase(entry, phase_of_image(entry)) for entry in entries]
    found = matching(entries, series)
    if len(found) > 1:
        return _describe_study(path, entries, found)
    about = _describe_series(path, entries.index(found[0]) + 1, found[0])
    return "\n".join([about, _describe_ct(*read_series(found[0].series))])


def _with_seen_phase(entry: StudySeries, seen: Phase) -> StudySeries:
    """Replace the header's phase by the one seen in the image; name both where they differ."""
    if seen == "unknown":
        return entry
    if entry.phase == seen:
        return replace(entry, phase_source=f"{entry.phase_source} and gray values")
    differs = "" if entry.phase == "unknown" else f", while its {entry.phase_source} says"
    says = f"{differs} {entry.phase}" if differs else ""
    return replace(entry, phase=seen, phase_source=f"gray values{says}")


def _describe_study(folder: Path, entries: list[StudySeries], listed: list[StudySeries]) -> str:
    """Each series, and which one `segment` would take."""
    try:
        _, proposal = propose_series(entries)
    except ValueError as error:
        proposal = str(error)
    texts = [_describe_series(folder, entries.index(one) + 1, one) for one in listed]
    return "\n".join([*texts, "", f"`livertumorseg segment`: {proposal}"])


def _describe_series(folder: Path, n: int, entry: StudySeries) -> str:
    """Describe a series by its header on a few lines; what the header lacks is left out."""
    k, j, i = entry.series.shape_kji
    thick, apart = entry.series.thickness_mm, entry.spacing_mm
    phase = entry.phase if entry.phase == "unknown" else f"{entry.phase} ({entry.phase_source})"
    place = entry.series.folder.relative_to(folder).as_posix()
    rows = [
        [
            f"{k} slices of {i} x {j}",
            "" if thick is None else f"{thick:g} mm thick",
            "uneven" if apart is None else f"{apart:.2f} mm apart",
            f"{entry.extent_mm:.0f} mm long",
            "axial" if entry.is_axial else "not axial",
            "" if entry.is_original else "derived",
        ],
        [
            f"phase {phase}",
            entry.series.stack.phase,
            f"contrast {entry.contrast or 'not stated'}",
            f"kernel {entry.kernel or 'not stated'}",
        ],
        [
            f"{entry.date} {entry.time}".strip(),
            "" if entry.series.number is None else f"series number {entry.series.number}",
            f"in {place}" if place != "." else "",
        ],
        [f"UID {entry.uid}" if entry.uid else ""],
    ]
    lines = [", ".join(part for part in row if part) for row in rows]
    head = f"{n:3d}  {entry.description or 'without a description'}"
    return "\n".join([head, *(f"     {line}" for line in lines if line)])


def _describe_ct(ct: CtVolume, warnings: tuple[str, ...]) -> str:
    k, j, i = ct.shape_kji
    sk, sj, si = ct.spacing_kji_mm
    lps, turn = ct.to_lps(copy=False)
    axial = "ijk"[2 - turn.order_kji[0]]
    return "\n".join(
        [
            f"CT of {i} x {j} x {k} voxels (i, j, k), {si:.3f} x {sj:.3f} x {sk:.3f} mm",
            f"{lps.shape_kji[0]} axial slices along {axial}",
            f"{int(ct.hu.min())} to {int(ct.hu.max())} HU",
            *(f"Warning: {text}" for text in warnings),
        ]
    )


def _describe_entry(entry: ModelEntry) -> str:
    """Describe a model by its catalog entry, then by its file."""
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
        *_sensitivity_rows(spec),
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


def _sensitivity_rows(spec: ModelSpec) -> list[tuple[str, Any]]:
    """What each step of sensitivity has found in tests; none for a model without steps."""
    known = Sensitivity.of(spec)
    return [
        ("sensitivity", f"{stop.steps:+d}: {stop.expected()}")
        for stop in (known.stops if known else ())
    ]


def _range(spec: ModelSpec) -> str:
    if spec.training_hu_range is None:
        return "not stated"
    return "{:.0f} to {:.0f}".format(*spec.training_hu_range)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 300 else text[:297] + "..."
