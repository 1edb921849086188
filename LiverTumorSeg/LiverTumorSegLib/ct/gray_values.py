"""Are these numbers Hounsfield units? Decided by where air and soft tissue lie in the histogram.

    refuse_other_units("ct.nii.gz", hu_kji)
    warnings = check_rim("ct.nii.gz", hu_kji)

The least and the greatest value say little: one padding value or one metal clip sets them. What a
body is made of tells more. Soft tissue and fat are its uppermost large peak and lie between -250
and 400 HU, air and lung below it near -1000 and -850.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import sentence

Counts = NDArray[np.float64]  # of voxels, one for each int16 value from -32768 up

LEAST = -32768
FEWEST_VOXELS = 10_000  # for a histogram
SAMPLE_VOXELS = 2_000_000  # enough for shares of a thousandth
SPIKE_SHARE, SPIKE_OVER_NEIGHBORS = 0.005, 5.0  # one value that often is padding or a clipped end
ENOUGH_SHARE = 0.02  # of voxels that are no spike, to say anything
PEAK_WIDTH_HU, PEAK_SHARE, PEAK_OVER_BELOW = 300, 0.05, 2.5
SOFT_TISSUE_HU = (-250.0, 400.0)  # where the middle of the uppermost large peak may lie
SOFT_TISSUE_SHARE = 0.01
USUAL_TISSUE_HU = 20.0  # between fat and muscle with contrast
AIR_HU, AIR_AT_MOST_HU, NO_AIR_SHARE = -1000.0, -700.0, 0.02
NOTHING_BELOW_HU = -1200.0  # no tissue and no air is darker; artifacts hardly are
BELOW_SHARE = 0.1
AIR_PEAK_BELOW_HU, DARK_SHARE = -300.0, 0.1
AIR_FROM_TISSUE_HU = (-1200.0, -850.0)  # where air lies, told from the middle of the soft tissue
FAT_HU, FAT_SHARE = -20.0, 0.005  # darker, at least: livers cut out closely have more
DARK_SPIKE_HU = (-1100.0, FAT_HU)  # air without noise, or what is darker than a display window
METAL_HU = 3071  # where 12 bits end: metal has it, and padding as well
PADDING_ABOVE_HU, PADDING_SHARE = 3500.0, 0.02
RIM_SHARE = 0.15  # of the scan's outer faces: no noise leaves so many voxels of one value
COMMON_OFFSETS = (-1024.0, -1000.0)
COMMON_WITHIN = 60.0  # what tissue can be off from water


@dataclass(frozen=True)
class GrayValues:
    """A histogram of CT numbers without its spikes.

    counts: voxels a value. total: of all voxels, spikes as well. spikes: single values that hold
    more voxels than noise allows, with their share of all. is_positive: none is below 0.
    """

    counts: Counts
    total: float
    spikes: dict[int, float]
    is_positive: bool

    @classmethod
    def of(cls, hu: NDArray[np.int16]) -> GrayValues:
        """Count a sample that is spread evenly over the scan."""
        step = max(1, round((hu.size / SAMPLE_VOXELS) ** (1 / 3)))
        sample = hu[::step, ::step, ::step].ravel().astype(np.int32) - LEAST
        counts = np.bincount(sample, minlength=65536).astype(np.float64)
        total = float(counts.sum())
        around = np.convolve(counts, [1, 1, 0, 1, 1], mode="same") / 4
        is_spike = (counts > SPIKE_SHARE * total) & (counts > SPIKE_OVER_NEIGHBORS * around)
        spikes = {int(n) + LEAST: float(counts[n] / total) for n in np.flatnonzero(is_spike)}
        counts[is_spike] = 0
        return cls(counts, total, spikes, is_positive=int(hu.min()) >= 0)

    def between(self, low: float, high: float) -> float:
        """Voxels from low up to, not including, high."""
        a, b = (int(np.clip(round(hu) - LEAST, 0, 65536)) for hu in (low, high))
        return float(self.counts[a:b].sum())

    def middle(self, low: float, high: float) -> float:
        """The median of the voxels from low up to high; low where there are none."""
        a, b = (int(np.clip(round(hu) - LEAST, 0, 65536)) for hu in (low, high))
        rising = np.cumsum(self.counts[a:b])
        return float(a + LEAST + np.searchsorted(rising, rising[-1] / 2)) if b > a else low

    def uppermost_peak(self) -> float | None:
        """The middle of the highest peak that holds much of the scan; None without one.

        A peak stands clear of what lies below it: evenly spread numbers have none.
        """
        rest = float(self.counts.sum())
        for low in range(32500, LEAST, -25):
            here = self.between(low, low + PEAK_WIDTH_HU)
            if here < PEAK_SHARE * rest:
                continue
            if here > PEAK_OVER_BELOW * self.between(low - PEAK_WIDTH_HU, low):
                return self.middle(low, low + PEAK_WIDTH_HU)
        return None


def refuse_other_units(name: str, hu: NDArray[np.int16]) -> None:
    """``ValueError``, with what would mend it, when air and tissue lie where none are in a CT."""
    if hu.size < FEWEST_VOXELS:
        return
    seen = GrayValues.of(hu)
    _refuse_bright_padding(name, seen)
    rest = float(seen.counts.sum())
    if rest < ENOUGH_SHARE * seen.total:
        return
    if seen.between(LEAST, NOTHING_BELOW_HU) > BELOW_SHARE * rest:
        raise ValueError(
            sentence(
                "{name} holds many values below {nothing_below_hu:g}, darker than air, "
                "so its slope or offset is wrong or was applied twice; export it again "
                "in Hounsfield units (air is -1000, water 0).",
                name=name,
                nothing_below_hu=NOTHING_BELOW_HU,
            )
        )
    _refuse_offset(name, seen, rest)
    _refuse_slope(name, seen, rest)
    _refuse_without_fat(name, seen, rest)


def _refuse_without_fat(name: str, seen: GrayValues, rest: float) -> None:
    """``ValueError`` where padding alone is dark, and so dark that it is no air either."""
    low, high = DARK_SPIKE_HU
    has_dark = any(low <= value <= high for value in seen.spikes)
    if seen.is_positive or has_dark or seen.between(LEAST, FAT_HU) >= FAT_SHARE * rest:
        return
    raise ValueError(
        sentence(
            "{name} has nothing below 0 but padding, so it is a picture, an MR or a CT without its "
            "slope and offset; give a CT in Hounsfield units (air is -1000).",
            name=name,
        )
    )


def _refuse_bright_padding(name: str, seen: GrayValues) -> None:
    for value, share in seen.spikes.items():
        if value > PADDING_ABOVE_HU and share > PADDING_SHARE:
            raise ValueError(_bright_padding(name, value, share))


def _bright_padding(name: str, value: int, share: float) -> str:
    return sentence(
        "{name} holds the value {value} in {share:.0%} of its voxels, brighter "
        "than any tissue: padding around the field of view; replace it by -1024"
        " (air).",
        name=name,
        value=value,
        share=share,
    )


def check_rim(name: str, hu: NDArray[np.int16]) -> tuple[str, ...]:
    """A warning about padding that looks like tissue; ``ValueError`` where it looks like metal.

    Padding lies around the image, so its one value fills much of the outer faces. Air there is
    right, and so is what a scan that was cut to a display window has for air: its least value.
    """
    faces = (hu[[0, -1]], hu[:, [0, -1]], hu[:, :, [0, -1]])
    rim = np.concatenate([face.ravel() for face in faces]).astype(np.int32) - LEAST
    counts = np.bincount(rim)
    value = int(counts.argmax()) + LEAST
    if counts.max() < RIM_SHARE * rim.size or value < AIR_AT_MOST_HU or value == hu.min():
        return ()
    if value >= METAL_HU:
        raise ValueError(_bright_padding(name, value, float((hu == value).mean())))
    return (
        sentence(
            "The rim of this CT holds the value {value} in {share:.0%} of its voxels, as padding "
            "around the field of view does, and there it looks like tissue; replace it by -1024 "
            "(air).",
            value=value,
            share=float(counts.max() / rim.size),
        ),
    )


def _refuse_offset(name: str, seen: GrayValues, rest: float) -> None:
    tissue = seen.uppermost_peak()
    if tissue is None or SOFT_TISSUE_HU[0] <= tissue <= SOFT_TISSUE_HU[1]:
        return
    if tissue < 0 and seen.between(*SOFT_TISSUE_HU) > SOFT_TISSUE_SHARE * rest:
        return  # air around something small
    offset = _fitting_offset(seen, tissue)
    if seen.is_positive and offset not in COMMON_OFFSETS:
        return  # gray levels of any kind, an MR's for example
    if offset is None:
        raise ValueError(
            sentence(
                "{name} has its soft tissue near {tissue:.0f}, where Hounsfield units have it near "
                "0, and no usual offset would mend that, so its slope may be missing or wrong too; "
                "export it again in Hounsfield units (air is -1000, water 0).",
                name=name,
                tissue=tissue,
            )
        )
    raise ValueError(
        sentence(
            "{name} has its soft tissue near {tissue:.0f}, where Hounsfield units "
            "have it near 0, as in a CT without its offset; give it with "
            "{offset:+.0f} added to every voxel, or export it again in Hounsfield "
            "units (air is -1000).",
            name=name,
            tissue=tissue,
            offset=offset,
        )
    )


def _fitting_offset(seen: GrayValues, tissue: float) -> float | None:
    """The offset that brings air to -1000 HU; by the soft tissue where no air shows.

    None where what is dark could be air with another slope only, and where no air shows and the
    offset would be none that scanners have.
    """
    dark_hu = tissue + AIR_PEAK_BELOW_HU
    shows_air = seen.between(LEAST, dark_hu) > DARK_SHARE * seen.counts.sum()
    low, high = (tissue + hu for hu in AIR_FROM_TISSUE_HU)
    if shows_air and not low < seen.middle(LEAST, dark_hu) < high:
        return None
    offset = AIR_HU - seen.middle(low, high) if shows_air else USUAL_TISSUE_HU - tissue
    usual = min(COMMON_OFFSETS, key=lambda common: abs(common - offset))
    if abs(usual - offset) < COMMON_WITHIN:
        return usual
    return round(offset) if shows_air else None


def _refuse_slope(name: str, seen: GrayValues, rest: float) -> None:
    """``ValueError`` where the air is a peak of its own but lies half-way to the tissue."""
    dark = seen.between(LEAST, AIR_PEAK_BELOW_HU)
    if dark < DARK_SHARE * rest:
        return
    if seen.between(LEAST, AIR_AT_MOST_HU) > NO_AIR_SHARE * dark:
        return
    air = seen.middle(LEAST, AIR_PEAK_BELOW_HU)
    raise ValueError(
        sentence(
            "{name} has its air near {air:.0f}, where Hounsfield units have it at "
            "-1000, so its slope is missing or wrong; give it with every voxel "
            "times {air_hu:.2g}, or export it again in Hounsfield units.",
            name=name,
            air=air,
            air_hu=AIR_HU / air,
        )
    )
