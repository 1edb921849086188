"""Which images of a DICOM series are one CT: without overview pictures and copies, phase by phase.

    for stack in find_stacks(images):       # of one series
        stack.images, stack.phase, stack.notes

Scanners and archives put more into a series than a volume: a scout, the same images under new
identifiers, every contrast phase. What is left out is said; phases are listed, never guessed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from LiverTumorSegLib.sentences import sentence

from .dicom_grid import find_grid
from .dicom_headers import PHASE_TAGS, DicomImage, decode

FEWEST_SLICES = 3  # a scout has one or two
OTHER_PLANE = 0.05  # of direction cosines
OTHER_SPACING_MM = 0.05  # a picture for the timing of the contrast has its own field of view
PLACE_DIGITS = 2  # of mm
ACQUISITION_TAGS = 3  # of PHASE_TAGS: they separate even what would make a regular stack together
OVERLAPPING = 0.5  # of the height of a phase
Images = list[DicomImage]


@dataclass(frozen=True)
class Stack:
    """Images that may be one CT, in no order.

    phase: how they differ from the others of their series; "" where they are alone.
    number: of the phase in its series, from 1; 0 where it is alone.
    notes: warnings, one sentence each, about images that were left out.
    """

    images: tuple[DicomImage, ...]
    phase: str = ""
    number: int = 0
    notes: tuple[str, ...] = ()


def find_stacks(images: Sequence[DicomImage]) -> list[Stack]:
    """The CTs in the images of a series; what cannot be sorted out stays one stack.

    Reads pixels only where images share a place, to distinguish copies from phases.
    """
    slices = [image for image in images if not image.is_localizer]
    stacks = []
    for part in _without_copied_folders(slices):
        main, overviews = _without_overviews(part)
        scan, timing = _without_timing(main)
        once, copies = _without_copies(scan)
        left_out = len(images) - len(slices) + overviews + timing
        notes = (*_overview_note(left_out), *_copies_note(copies))
        stacks += [replace(stack, notes=notes) for stack in _phases(once)]
    return stacks


def _without_copied_folders(images: Images) -> list[Images]:
    """The images of one series, sorted out by folder where folders hold copies of each other.

    Only an image that has the same place too is a copy: anonymizers may make all instances alike.
    """
    folders: dict[Path, dict[object, DicomImage]] = {}
    for n, image in enumerate(images):
        # those of a file's frames share the instance
        key = (image.instance, image.frame, image.position_lps_mm) if image.instance else n
        folders.setdefault(image.path.parent, {}).setdefault(key, image)
    parts = list(folders.values())
    if len(set().union(*parts)) == sum(map(len, parts)):
        return [[image for part in parts for image in part.values()]]
    return [list(part.values()) for part in parts]


def _without_overviews(images: Images) -> tuple[Images, int]:
    """The regular stack among images, and how many of another plane, size or spacing were none."""
    groups: list[Images] = []
    for image in images:
        for group in groups:
            if _are_alike(image, group[0]):
                group.append(image)
                break
        else:
            groups.append([image])
    places = [len(_by_place(group)) for group in groups]
    main = groups[int(np.argmax(places))] if groups else []
    others = len(images) - len(main)
    is_clear = sum(count >= FEWEST_SLICES for count in places) == 1
    if not others or not is_clear or not _is_regular(_one_a_place(main)):
        return images, 0
    return main, others


def _are_alike(a: DicomImage, b: DicomImage) -> bool:
    return (
        a.shape_ji == b.shape_ji
        and _are_near(a.orientation, b.orientation, OTHER_PLANE)
        and _are_near(a.spacing_ji_mm, b.spacing_ji_mm, OTHER_SPACING_MM)
    )


def _are_near(a: tuple[float, ...] | None, b: tuple[float, ...] | None, within: float) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.abs(np.subtract(a, b)).max() <= within)


def _without_timing(images: Images) -> tuple[Images, int]:
    """The scan without pictures of a place or two within it, and how many were none of it.

    The scanner takes them again and again to see the contrast come. Their field of view may be the
    scan's: then a tag tells them, or that they are many where the scan has one.
    """
    if _is_regular(images):
        return images, 0
    for parts in _splits(images):
        scan, others = list[DicomImage](), list[DicomImage]()
        for part in parts:
            (scan if len(_by_place(part)) >= FEWEST_SLICES else others).extend(part)
        if others and _is_regular(_one_a_place(scan)) and _are_within(others, scan):
            return scan, len(others)
    return images, 0


def _splits(images: Images) -> Iterator[list[Images]]:
    """The images by each tag of the phases, and as places that have one and that have many."""
    for n in range(len(PHASE_TAGS)):
        yield list(_by_tag(images, n).values())
    places = list(_by_place(images).values())
    repeated = [group for group in places if len(group) >= FEWEST_SLICES]
    if 0 < len(repeated) < FEWEST_SLICES:
        yield [
            [image for group in places if len(group) < FEWEST_SLICES for image in group],
            *repeated,
        ]


def _are_within(some: Images, scan: Images) -> bool:
    """Whether images lie between the first and the last of a scan: no end of it."""
    if any(image.position_lps_mm is None for image in some):
        return False
    normal = np.cross(*np.array(scan[0].orientation).reshape(2, 3))
    inner, outer = (
        np.array([image.position_lps_mm for image in part]) @ normal for part in (some, scan)
    )
    return bool(outer.min() <= inner.min() and inner.max() <= outer.max())


def _without_copies(images: Images) -> tuple[Images, int]:
    """Each image once where images at one place are equal, and how many were left out.

    Where others at one place differ these are phases: only what is of one phase is a copy then, for
    slices of air are alike in all.
    """
    places = _by_place(images)
    if len(places) == len(images):
        return images, 0
    try:
        pixels = {
            image: _pixels(image) for group in places.values() if len(group) > 1 for image in group
        }
    except ValueError:  # damaged: reading the series says so
        return images, 0
    are_phases = any(len({pixels.get(image) for image in group}) > 1 for group in places.values())
    once: dict[object, DicomImage] = {}
    for image in images:
        key = (_place(image), pixels.get(image), image.phase if are_phases else ())
        once.setdefault(key, image)
    return list(once.values()), len(images) - len(once)


def _pixels(image: DicomImage) -> bytes:
    """The hash of an image's numbers, however an archive stores them: signed or with an offset."""
    (stored,) = decode([image])
    slope = 1.0 if image.slope is None else image.slope
    hu = np.rint(stored * slope + (image.intercept or 0.0)).astype(np.int32)
    return hashlib.sha256(hu.tobytes()).digest()


def _phases(images: Images) -> list[Stack]:
    """One stack a phase where a tag, or the order of the images, makes each a regular one."""
    is_regular = _is_regular(images)
    for n, tag in enumerate(PHASE_TAGS[:ACQUISITION_TAGS] if is_regular else PHASE_TAGS):
        parts = _by_tag(images, n)
        if len(parts) < 2 or not all(map(_is_regular, parts.values())):
            continue
        if not is_regular or _overlap(list(parts.values())):
            in_order = sorted(parts, key=lambda value: (_as_number(value), _first(parts[value])))
            return _named([parts[v] for v in in_order], [f", {tag} {v}" for v in in_order])
    rounds = [] if is_regular else _rounds(images)
    if len(rounds) > 1 and all(map(_is_regular, rounds)):
        return _named(rounds, [""] * len(rounds))
    return [Stack(tuple(images))]


def _overlap(parts: list[Images]) -> bool:
    """Whether phases lie between each other's slices; acquisitions in a row do not."""
    normal = np.cross(*np.array(parts[0][0].orientation).reshape(2, 3))
    heights = [np.array([image.position_lps_mm for image in part]) @ normal for part in parts]
    lowest, highest = max(h.min() for h in heights), min(h.max() for h in heights)
    return bool(highest - lowest > OVERLAPPING * max(np.ptp(h) for h in heights))


def _rounds(images: Images) -> list[Images]:
    """Images as the scanner numbered them: place by place, or a part after the other."""
    if not images or any(image.instance_number is None for image in images):
        return []
    if in_turn := _in_turn(images):
        return in_turn
    rounds: list[Images] = [[]]
    seen: set[object] = set()
    for image in sorted(images, key=lambda image: image.instance_number or 0):
        if _place(image) in seen:
            rounds.append([])
            seen = set()
        seen.add(_place(image))
        rounds[-1].append(image)
    return rounds


def _in_turn(images: Images) -> list[Images]:
    """The first, second, ... image of every place where each place has its numbers in a row."""
    turns = [
        sorted(group, key=lambda image: image.instance_number or 0)
        for group in _by_place(images).values()
    ]
    count = len(turns[0])
    for turn in turns:
        first = turn[0].instance_number or 0
        if [image.instance_number for image in turn] != list(range(first, first + count)):
            return []
    return [list(part) for part in zip(*turns, strict=True)] if count > 1 else []


def _named(parts: list[Images], tags: list[str]) -> list[Stack]:
    """Phases, named by a running number and a numeric tag, never by a tag's text."""
    return [
        Stack(tuple(part), f"phase {n} of {len(parts)}{_plain(word)}", n)
        for n, (part, word) in enumerate(zip(parts, tags, strict=True), 1)
    ]


def _as_number(value: str) -> float:
    """To sort values of a tag by: numbers and times of day as such, other texts after them."""
    try:
        return float(value)
    except ValueError:
        return math.inf


def _first(images: Images) -> tuple[float, str]:
    """To sort phases by that no number tells apart: as their images are numbered or named."""
    return min((_number_of(image), str(image.path)) for image in images)


def _number_of(image: DicomImage) -> float:
    return math.inf if image.instance_number is None else image.instance_number


def _plain(word: str) -> str:
    """``", AcquisitionNumber 3"`` where the value is a short number; nothing otherwise."""
    value = word.rpartition(" ")[2]
    return word if value.isdigit() and len(value) <= 6 else ""


def _is_regular(images: Images) -> bool:
    """Whether images are a whole stack with equal distances."""
    if len(images) < FEWEST_SLICES or any(
        image.position_lps_mm is None or image.orientation is None or image.spacing_ji_mm is None
        for image in images
    ):
        return False
    try:
        find_grid(*places_of(images))
    except ValueError:
        return False
    return len({image.shape_ji for image in images}) == 1


def places_of(images: Sequence[DicomImage]) -> Iterator[np.ndarray]:
    """Positions, orientations and spacings, as :func:`dicom_grid.find_grid` takes them."""
    yield np.array([image.position_lps_mm for image in images])
    yield np.array([image.orientation for image in images]).reshape(-1, 2, 3)
    yield np.array([image.spacing_ji_mm for image in images])


def _place(image: DicomImage) -> object:
    """Equal for images that show the same points of the patient."""
    if image.position_lps_mm is None or image.orientation is None:
        return id(image)
    position = tuple(round(mm, PLACE_DIGITS) for mm in image.position_lps_mm)
    return position, tuple(round(cosine, PLACE_DIGITS) for cosine in image.orientation)


def _by_place(images: Images) -> dict[object, Images]:
    places: dict[object, Images] = {}
    for image in images:
        places.setdefault(_place(image), []).append(image)
    return places


def _by_tag(images: Images, n: int) -> dict[str, Images]:
    """By the value of the tag n of PHASE_TAGS."""
    parts: dict[str, Images] = {}
    for image in images:
        parts.setdefault(image.phase[n], []).append(image)
    return parts


def _one_a_place(images: Images) -> Images:
    return [group[0] for group in _by_place(images).values()]


def _overview_note(count: int) -> Iterator[str]:
    if count == 1:
        yield "An overview picture (localizer) in the series did not count as a slice of this CT."
    elif count:
        yield sentence(
            "{count} overview pictures (localizer) in the series did not count as a slice of this"
            " CT.",
            count=count,
        )


def _copies_note(count: int) -> Iterator[str]:
    if count == 1:
        yield "An image was in this series more than once, with equal pixels, and counted once."
    elif count:
        yield sentence(
            "{count} images were in this series more than once, with equal pixels, and counted"
            " once.",
            count=count,
        )
