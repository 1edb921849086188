"""A study's CT series: what their headers say, and which is likely portal-venous, thin and axial.

    entries = read_study(Path("study"))            # a StudySeries each, as `info` counts
    chosen = choose_series(entries, WantedSeries("portal*", phase=2))
    chosen, why = propose_series(entries)

Descriptions are what somebody typed at the scanner and may name a patient: they are shown where a
person lists a study, and go into no record, log or file name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from LiverTumorSegLib.sentences import sentence

from .dicom import Series, find_series
from .dicom_headers import read_texts, shown_name, silenced_pydicom
from .phase import Phase, phase_of_delay, phase_of_words

AXIAL_COSINE = 0.9  # of the slices' normal with the patient's axis
LEAST_EXTENT_MM = 120.0  # a shorter one hardly holds a whole liver
THIN_MM, THICK_MM = 3.0, 5.05
NO_ORIGINAL = ("PROJECTION", "MIP", "MINIP", "AVERAGE", "MPR", "VRT", "SECONDARY", "REFORMATTED")
SHARP_WORDS = ("bone", "lung", "knochen", "lunge", "sharp", "hrct")
SHARP_FROM = 60  # of a Siemens kernel's number: B60f, Br64, I70f
PHASE_ORDER: tuple[Phase, ...] = ("portal-venous", "unknown", "late", "arterial", "unenhanced")
TEXTS = (
    *("SeriesDescription", "ProtocolName", "ConvolutionKernel", "ContrastBolusAgent", "ImageType"),
    *("AcquisitionDate", "SeriesDate", "StudyDate", "AcquisitionTime", "SeriesTime"),
    "ContrastBolusStartTime",
)
LONGEST_TEXT = 64


@dataclass(frozen=True)
class StudySeries:
    """One CT series with what its header says; texts are "" where it says nothing.

    study, uid: of the header; equal studies are one examination of one patient. date: 2026-11-29.
    time: 10:31. spacing_mm: between slices, None where they are irregular. extent_mm: of the body.
    phase: as far as description, protocol and injection time say.
    """

    series: Series
    study: str
    uid: str
    description: str
    date: str
    time: str
    kernel: str
    contrast: str
    spacing_mm: float | None
    extent_mm: float
    is_axial: bool
    is_original: bool
    phase: Phase
    phase_source: str

    @property
    def slices(self) -> int:
        return self.series.shape_kji[0]

    @property
    def is_sharp(self) -> bool:
        """Whether it is reconstructed for bone or lung, whose noise hides lesions."""
        digits = "".join(c for c in self.kernel.partition("\\")[0] if c.isdigit())[:2]
        texts = f"{self.kernel} {self.description}".casefold()
        return any(word in texts for word in SHARP_WORDS) or (
            self.kernel[:1] in ("B", "I") and len(digits) == 2 and int(digits) >= SHARP_FROM
        )


def read_study(folder: Path) -> list[StudySeries]:
    """The CT series in a folder and those below it, as ``find_series`` orders them; at least one.

    Raises ``ValueError`` where there is none, and as ``find_series`` does.
    """
    found = find_series(folder)
    if not found:
        raise ValueError(
            sentence(
                "{folder} is a folder without a CT series in DICOM; give a folder that holds one,"
                " or one .nii or .nii.gz file.",
                folder=shown_name(folder),
            )
        )
    return [describe_series(series) for series in found]


def describe_series(series: Series) -> StudySeries:
    """Describe a series by the header of its first image; a damaged header describes nothing."""
    first = series.stack.images[0]
    try:
        with silenced_pydicom():
            texts = {n: _one_line(t) for n, t in read_texts(first.path, TEXTS, first.frame).items()}
    except ValueError:
        texts = dict.fromkeys(TEXTS, "")
    spacing_mm, extent_mm, is_axial = _geometry(series)
    kinds = set(texts["ImageType"].upper().replace("\\", " ").replace("_", " ").split())
    phase, source = _header_phase(texts, alone=not series.stack.phase)
    study, uid, _ = first.series
    return StudySeries(
        series=series,
        study=study or str(series.folder),
        uid=uid,
        description=texts["SeriesDescription"],
        date=_date(texts["AcquisitionDate"] or texts["SeriesDate"] or texts["StudyDate"]),
        time=_time(texts["AcquisitionTime"] or texts["SeriesTime"]),
        kernel=texts["ConvolutionKernel"],
        contrast=texts["ContrastBolusAgent"],
        spacing_mm=spacing_mm,
        extent_mm=extent_mm,
        is_axial=is_axial,
        is_original=not kinds & set(NO_ORIGINAL),
        phase=phase,
        phase_source=source,
    )


def _one_line(text: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in text).strip(" ^")
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 3] + "..."


def _header_phase(texts: dict[str, str], alone: bool) -> tuple[Phase, str]:
    """The phase, and what says it. alone: a text that covers several phases names none."""
    for name, source in (("SeriesDescription", "description"), ("ProtocolName", "protocol")):
        if alone and (phase := phase_of_words(texts[name])) != "unknown":
            return phase, source
    began, scanned = (_seconds(texts[n]) for n in ("ContrastBolusStartTime", "AcquisitionTime"))
    if began is not None and scanned is not None:
        phase = phase_of_delay((scanned - began) % 86400)
        if phase != "unknown":
            return phase, "injection time"
    return "unknown", ""


def _geometry(series: Series) -> tuple[float | None, float, bool]:
    """Distance of slices, length of the scan, and whether its slices lie across the body."""
    images = series.stack.images
    places = [image.position_lps_mm for image in images]
    orientation = images[0].orientation
    if orientation is None or any(place is None for place in places):
        return None, 0.0, False
    normal = np.cross(*np.array(orientation).reshape(2, 3))
    heights_mm = np.sort(np.array(places, dtype=np.float64) @ normal)
    gaps_mm = np.diff(heights_mm)
    gap_mm = float(np.median(gaps_mm)) if len(gaps_mm) else 0.0
    even = gap_mm > 0 and bool((np.abs(gaps_mm - gap_mm) < 0.25 * gap_mm).all())
    is_axial = bool(abs(normal[2]) >= AXIAL_COSINE)
    return gap_mm if even else None, float(np.ptp(heights_mm)) + gap_mm, is_axial


def _date(stated: str) -> str:
    is_date = len(stated) == 8 and stated.isdigit()
    return f"{stated[:4]}-{stated[4:6]}-{stated[6:]}" if is_date else ""


def _time(stated: str) -> str:
    return f"{stated[:2]}:{stated[2:4]}" if len(stated) >= 4 and stated[:4].isdigit() else ""


def _seconds(stated: str) -> float | None:
    """Since midnight, of 103015.25."""
    try:
        moment = datetime.strptime(stated.partition(".")[0], "%H%M%S")
    except ValueError:
        return None
    return moment.hour * 3600.0 + moment.minute * 60 + moment.second


# Choosing


@dataclass(frozen=True)
class WantedSeries:
    """Describes the series that is meant; a field is None where nothing is known of it.

    which: its number as `info` counts from 1, its UID, or a pattern of its description. phase: of a
    series that holds several, as `info` counts them from 1.
    """

    which: str | None = None
    phase: int | None = None

    @property
    def is_any(self) -> bool:
        return self.which is None and self.phase is None


ANY_SERIES = WantedSeries()


def choose_series(entries: Sequence[StudySeries], wanted: WantedSeries = ANY_SERIES) -> StudySeries:
    """The only series there is, or the one that somebody names; ``ValueError`` saying how to."""
    found = matching(entries, wanted)
    if len(found) == 1:
        return found[0]
    if wanted.phase is None and len({entry.uid for entry in found}) == 1:
        phases = [entry.series.stack.number for entry in found]
        if sorted(phases) == list(range(1, len(phases) + 1)):
            raise ValueError(
                sentence(
                    "This series holds {count} phases; choose one with --phase, 1 to {count}"
                    " (`livertumorseg info` on the folder lists them).",
                    count=len(found),
                )
            )
    if wanted.which is None:
        raise ValueError(
            sentence(
                "This folder holds {found} CT series; choose one with --series, 1 to {count}"
                " (`livertumorseg info` on the folder lists them).",
                found=len(found),
                count=len(entries),
            )
        )
    raise ValueError(
        sentence(
            "{which!r} fits {found} CT series; choose one with --series, 1 to {count}"
            " (`livertumorseg info` on the folder lists them).",
            which=wanted.which,
            found=len(found),
            count=len(entries),
        )
    )


def matching(
    entries: Sequence[StudySeries], wanted: WantedSeries = ANY_SERIES
) -> list[StudySeries]:
    """The series that may be meant; at least one."""
    found = _of_name(entries, wanted.which)
    if wanted.phase is None:
        return found
    phases = sorted({entry.series.stack.number for entry in found} - {0})
    if not phases:
        raise ValueError("No series here holds several phases; leave out --phase.")
    if wanted.phase not in phases:
        raise ValueError(
            sentence(
                "There is no phase {wanted} here; choose a number from {first} to {last}.",
                wanted=wanted.phase,
                first=phases[0],
                last=phases[-1],
            )
        )
    return [entry for entry in found if entry.series.stack.number == wanted.phase]


def _of_name(entries: Sequence[StudySeries], wanted: str | None) -> list[StudySeries]:
    """The series that a number, UID or pattern means, all for None; at least one."""
    if wanted is None:
        return list(entries)
    if wanted.lstrip("-").isdigit():
        number = int(wanted)
        if not 1 <= number <= len(entries):
            raise ValueError(
                sentence(
                    "There is no series {wanted} in this folder; choose a number from 1 to"
                    " {count}.",
                    wanted=number,
                    count=len(entries),
                )
            )
        return [entries[number - 1]]
    found = [entry for entry in entries if entry.uid == wanted or fits(entry.description, wanted)]
    if not found:
        raise ValueError(
            sentence(
                "No series in this folder is called like {wanted!r}; `livertumorseg info` on the"
                " folder lists them.",
                wanted=wanted,
            )
        )
    return found


def fits(description: str, pattern: str) -> bool:
    """Whether a description matches a pattern as in a shell; large and small letters are alike."""
    return fnmatchcase(description.casefold(), pattern.casefold())


def propose_series(
    entries: Sequence[StudySeries],
    among: Sequence[StudySeries] | None = None,
    phase_of_image: Callable[[StudySeries], Phase] | None = None,
) -> tuple[StudySeries, str]:
    """The likely portal-venous thin axial series, and a sentence of why; "" where it is the only.

    among: of these alone (default: all). phase_of_image: looks at a CT itself; asked of the series
    that are fit otherwise, where no header names a portal-venous one.
    Raises ``ValueError`` for several examinations: which patient is meant, nobody guesses.
    """
    some = list(entries if among is None else among)
    if len(some) == 1:
        return some[0], ""
    if len({entry.study for entry in some}) > 1:
        raise ValueError(
            sentence(
                "This folder holds several examinations; give the folder of one, or choose a series"
                " with --series, 1 to {count} (`livertumorseg info` on the folder lists them).",
                count=len(entries),
            )
        )
    if phase_of_image is not None:
        some = _with_seen_phases(some, phase_of_image)
    chosen = min(some, key=_rank)
    number = 1 + [entry.series for entry in entries].index(chosen.series)
    return chosen, sentence(
        "Of {count} CT series number {number} was taken ({which}); --series chooses another.",
        count=len(entries),
        number=number,
        which=say_series(chosen),
    )


def _with_seen_phases(
    entries: list[StudySeries], phase_of_image: Callable[[StudySeries], Phase]
) -> list[StudySeries]:
    """The same, with the phases of those that may be the portal-venous one but do not say so."""
    fit = [entry for entry in entries if not any(_hindrances(entry))]
    if len(fit) < 2 or any(entry.phase == "portal-venous" for entry in fit):
        return entries
    return [
        replace(entry, phase=phase_of_image(entry), phase_source="gray values")
        if entry in fit and entry.phase == "unknown"
        else entry
        for entry in entries
    ]


def _hindrances(entry: StudySeries) -> tuple[bool, bool, bool]:
    """Why a series is less fit than others, whatever its phase."""
    return (
        not entry.is_axial or not entry.is_original,
        entry.extent_mm < LEAST_EXTENT_MM,
        entry.spacing_mm is None or entry.spacing_mm > THICK_MM,
    )


def _rank(entry: StudySeries) -> tuple[object, ...]:
    """The least is the best: whole and axial, then the phase, then soft and thin."""
    spacing_mm = entry.spacing_mm or np.inf
    return (
        *_hindrances(entry),
        PHASE_ORDER.index(entry.phase),
        entry.is_sharp,
        spacing_mm > THIN_MM,
        spacing_mm,
        -entry.extent_mm,
    )


def say_series(entry: StudySeries) -> str:
    """A series' phase and grid in short, without anything that a person has typed."""
    said = "no header says its phase"
    if entry.phase != "unknown":
        said = f"{entry.phase} by its {entry.phase_source}"
    plane = "axial" if entry.is_axial else "not axial"
    apart = "" if entry.spacing_mm is None else f" {entry.spacing_mm:.1f} mm apart"
    return f"{said}; {plane}, {entry.slices} slices{apart}, {entry.extent_mm:.0f} mm of the body"
