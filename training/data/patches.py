"""Prepared volumes, and patches cut from them: what a patch network is trained on.

    data = load_volumes(Path("prepared3d"), "train", "tumor", masks=Path("masks"), margin_mm=5.0)
    for rows in sampling.batches(data, 2, random):  # (B, 4): volume, and the patch's first voxel
        images, maps = PatchBatches(data, "cpu").cut(rows, patch_kji, reach_kji)

Needs only numpy, OpenCV and torch, so that a training machine needs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from LiverTumorSegLib.inference.preprocess_volume import Mask, VolumePreprocessing, resample_mask
from LiverTumorSegLib.labels import Label
from numpy.typing import NDArray
from torch import Tensor

from training.data.slices import PREPARE_AGAIN, read_manifest
from training.files import map_array, read_record

LEAST = {"liver": Label.LIVER, "tumor": Label.TUMOR}  # labels from here on are a stage's class
REMEMBERED = 10_000  # voxels of each class and volume that patches are centered on, as in nnU-Net
Kji = tuple[int, int, int]
Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Volume:
    """One scan on the net's grid.

    image: float16 (k, j, i) in [0, 1]. target: uint8 of the same shape, 1 in the stage's class.
    region: where a net that sees the liver alone looks, or None for one that sees all.
    """

    name: str
    group: str
    image: NDArray[np.float16]
    target: Bytes
    region: Mask | None

    @property
    def shape_kji(self) -> Kji:
        k, j, i = self.image.shape
        return k, j, i

    @cached_property
    def target_voxels(self) -> Rows:
        """Voxels (n, 3) of the class, where the net sees them."""
        return _remembered(self._seen_target())

    @cached_property
    def target_size(self) -> int:
        """Voxels of the class that the net sees."""
        return int(np.count_nonzero(self._seen_target()))

    def _seen_target(self) -> Mask:
        marked = self.target > 0
        return marked if self.region is None else marked & self.region

    @cached_property
    def region_voxels(self) -> Rows:
        """Voxels (n, 3) that patches are to show when no class is asked for: of the region."""
        return _remembered(
            np.ones(self.shape_kji, np.bool_) if self.region is None else self.region
        )


@dataclass(frozen=True, eq=False)
class VolumeSet:
    """All volumes of one split, for one stage of the cascade.

    preprocessing: what the stage's net is fed with, the liver's margin included.
    """

    volumes: tuple[Volume, ...]
    stage: str
    preprocessing: VolumePreprocessing

    def __len__(self) -> int:
        return len(self.volumes)

    @property
    def cases(self) -> tuple[str, ...]:
        return tuple(volume.name for volume in self.volumes)

    @property
    def groups(self) -> tuple[str, ...]:
        """The patients, each once."""
        return tuple(sorted({volume.group for volume in self.volumes}))

    def without(self, groups: Sequence[str]) -> VolumeSet:
        """The others; ``ValueError`` when there are none."""
        volumes = tuple(v for v in self.volumes if v.group not in groups)
        if not volumes:
            raise ValueError("No volume is left to train on; use fewer folds or more patients.")
        return replace(self, volumes=volumes)


def load_volumes(
    folder: Path,
    split: str,
    stage: str,
    *,
    masks: Path | None = None,
    margin_mm: float | None = None,
    mask_as_channel: bool = False,
) -> VolumeSet:
    """The scans that ``prepare --volumes`` wrote for "train", "val" or "test", memory-mapped.

    stage: "liver" or "tumor". masks: of ``liver_masks``, dilated by margin_mm, for a net that sees
    the liver alone. Raises ``ValueError`` when there is no such scan or a mask is missing or made
    of other scans.
    """
    manifest = read_manifest(folder)
    stored = manifest["preprocessing"]
    if stored.get("kind") != "volume":
        raise ValueError(
            f"{folder.name} holds slices; a patch network needs volumes: run python -m"
            " training.prepare --volumes."
        )
    cases = [c for c in manifest["cases"] if c["split"] == split]
    if not cases:
        raise ValueError(f"{folder.name} holds no case of split {split!r}; prepare data with it.")
    preprocessing = replace(
        VolumePreprocessing.from_dict(stored),
        liver_margin_mm=margin_mm,
        mask_as_channel=mask_as_channel,
    )
    if preprocessing.needs_liver and masks is None:
        raise ValueError(
            "The tumor network learns on the liver alone; make masks with python -m"
            " training.liver_masks and give them by --masks."
        )
    known = _mask_records(masks) if preprocessing.needs_liver and masks is not None else {}
    volumes = tuple(_volume(folder, case, stage, preprocessing, masks, known) for case in cases)
    return VolumeSet(volumes, stage, preprocessing)


def _volume(
    folder: Path,
    case: dict[str, Any],
    stage: str,
    preprocessing: VolumePreprocessing,
    masks: Path | None,
    known: Mapping[str, Any],
) -> Volume:
    image, labels = (read_array(folder, case, kind) for kind in ("image", "labels"))
    region = None
    if preprocessing.needs_liver and masks is not None:
        if case["name"] not in known or not _is_of(known[case["name"]], case):
            raise ValueError(
                f"{masks.name} holds no liver mask of {case['name']} as it was prepared; run"
                " python -m training.liver_masks again."
            )
        liver = np.load(masks / f"{case['name']}.npy").astype(np.bool_)
        if len(liver) != len(image):
            raise ValueError(
                f"The liver mask of {case['name']} has {len(liver)} slices and its image"
                f" {len(image)}; make the masks of these scans."
            )
        liver = resample_mask(
            liver, preprocessing.size_px
        )  # the liver net may have worked on another
        k, j, i = case["shape_kji"]
        region = preprocessing.search_region(liver, _spacing(case), (k, j, i))
    target = (labels >= LEAST[stage]).astype(np.uint8)
    return Volume(case["name"], case["group"], image, target, region)


def _is_of(record: Mapping[str, Any], case: Mapping[str, Any]) -> bool:
    return all(record.get(key) == value for key, value in fingerprint(case).items())


def fingerprint(case: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that distinguish a prepared scan from another of the same name."""
    return {key: case[key] for key in ("ct_sha256", "phantom_seed") if case.get(key) is not None}


def _spacing(case: dict[str, Any]) -> tuple[float, float, float]:
    k, j, i = case["spacing_kji_mm"]
    return k, j, i


def _mask_records(masks: Path) -> dict[str, Any]:
    path = masks / "manifest.json"
    if not path.is_file():
        raise ValueError(f"{masks.name} holds no liver masks; run python -m training.liver_masks.")
    again = "run python -m training.liver_masks again"
    records = read_record(path, again).get("cases")
    if not isinstance(records, dict) or not all(isinstance(r, dict) for r in records.values()):
        raise ValueError(f"{path.name} in {masks.name} lists no masks; {again}.")
    return records


def read_array(folder: Path, case: dict[str, Any], kind: str) -> NDArray[Any]:
    """A prepared array, read from the disk as it is used; writing to it changes the copy only."""
    return map_array(folder / case["name"] / f"{kind}.npy", PREPARE_AGAIN, mode="c")


def _remembered(mask: Mask) -> Rows:
    """Evenly spread voxels (n, 3) of a mask, at most :data:`REMEMBERED`."""
    found = np.flatnonzero(mask)
    step = max(1, -(-len(found) // REMEMBERED))
    return np.stack(np.unravel_index(found[step // 2 :: step], mask.shape), axis=1)


@dataclass(frozen=True, kw_only=True)
class PatchSampling:
    """Which patches a batch is made of.

    iterations: batches an epoch.
    foreground_share: of a batch, rounded up, patches that show a voxel of the class near their
        middle; nnU-Net's rule is 1/3, the published code draws all patches evenly (0).
    region_share: of a batch, rounded up, patches whose middle is near the liver region; it saves a
        tumor net from looking at patches of nothing.
    jitter: how far from the middle that voxel may be, a share of the patch; in nnU-Net it is the
        middle (0), and a net that knows its patch's voxels by place may learn to look there.
    case_balance: of the class's patches; 1 draws volumes evenly (nnU-Net), 0 voxels, so that a
        volume of large tumors counts for more than one of a few voxels.
    The others lie anywhere inside the volume, which is drawn evenly first.
    """

    iterations: int = 250
    foreground_share: float = 0.0
    region_share: float = 0.0
    jitter: float = 0.0
    case_balance: float = 1.0

    def __post_init__(self) -> None:
        shares = self.foreground_share, self.region_share
        if min(shares) < 0 or sum(shares) > 1 or self.iterations < 1:
            raise ValueError(
                f"foreground_share and region_share are {shares}, iterations {self.iterations};"
                " give shares from 0, together up to 1, and at least one iteration."
            )
        if not (0 <= self.jitter <= 0.4 and 0 <= self.case_balance <= 1):
            raise ValueError(
                f"jitter is {self.jitter} and case_balance {self.case_balance}; give shares, at"
                " most 0.4 and 1."
            )

    def batches(
        self, data: VolumeSet, batch: int, patch_kji: Kji, random: np.random.Generator
    ) -> Iterator[Rows]:
        """Batch by batch for one epoch (B, 4): volume, and the patch's first voxel (k, j, i).

        Raises ``ValueError`` when foreground is asked for and there is none.
        """
        kinds = self._kinds(batch)
        sizes = np.array([v.target_size for v in data.volumes])
        with_target = np.flatnonzero(sizes)
        if "target" in kinds and len(with_target) == 0:
            raise ValueError(
                f"No training volume shows {data.stage}; add labeled cases to the split train."
            )
        in_region = np.array([n for n, v in enumerate(data.volumes) if len(v.region_voxels)])
        every = np.arange(len(data))
        among = {
            "target": with_target,
            "region": in_region if len(in_region) else every,
            "anywhere": every,
        }
        weights = sizes[with_target] ** (1 - self.case_balance)
        chances = {"target": weights / weights.sum()} if len(with_target) else {}
        for _ in range(self.iterations):
            rows = []
            for kind in kinds:
                n = int(random.choice(among[kind], p=chances.get(kind)))
                rows.append([n, *self._first(data.volumes[n], kind, patch_kji, random)])
            yield random.permutation(np.array(rows, np.int64))

    def _kinds(self, batch: int) -> list[str]:
        targets = int(np.ceil(batch * self.foreground_share - 1e-9))
        regions = min(batch - targets, int(np.ceil(batch * self.region_share - 1e-9)))
        return [
            *["target"] * targets,
            *["region"] * regions,
            *["anywhere"] * (batch - targets - regions),
        ]

    def _first(
        self, volume: Volume, kind: str, patch_kji: Kji, random: np.random.Generator
    ) -> list[int]:
        """The first voxel of a patch of that kind."""
        voxels = {"target": volume.target_voxels, "region": volume.region_voxels}.get(kind, ())
        if len(voxels):
            shown = voxels[int(random.integers(len(voxels)))]
            aside = random.uniform(-self.jitter, self.jitter, 3) if self.jitter else np.zeros(3)
            first = [
                int(v) - side // 2 + round(a * side)
                for v, side, a in zip(shown, patch_kji, aside.tolist(), strict=True)
            ]
        else:
            ends = (
                max(length - side, 0)
                for length, side in zip(volume.shape_kji, patch_kji, strict=True)
            )
            first = [int(random.integers(end + 1)) for end in ends]
        return _inside(first, volume.shape_kji, patch_kji)


def _inside(first: Sequence[int], shape_kji: Kji, patch_kji: Kji) -> list[int]:
    """The patch moved into the volume; centered where the volume is the smaller."""
    return [
        int(np.clip(f, 0, length - side)) if length >= side else -((side - length) // 2)
        for f, length, side in zip(first, shape_kji, patch_kji, strict=True)
    ]


class PatchBatches:
    """Patches on the device.

    On CUDA all volumes live there, if they fill less than half of what is free; else they are cut
    on the host, which reads them from the disk as they are needed.
    """

    def __init__(self, data: VolumeSet, device: str) -> None:
        self.device, self.home = device, patch_home(data, device)
        self.images = [torch.from_numpy(np.asarray(v.image)).to(self.home) for v in data.volumes]
        self.targets = [torch.from_numpy(v.target).to(self.home) for v in data.volumes]
        self.regions = [
            None if v.region is None else torch.from_numpy(v.region).to(self.home)
            for v in data.volumes
        ]

    def cut(self, rows: Rows, patch_kji: Kji, reach_kji: Kji) -> tuple[Tensor, Tensor]:
        """Images (B, 1, *reach) float32 and maps (B, 2, *reach) uint8: target, region.

        reach_kji: size of what is cut, with the patch of ``rows`` in its middle as
        ``augment_volume.middle`` finds it; 0 beyond the volume.
        """
        images = torch.zeros(len(rows), 1, *reach_kji, device=self.home)
        maps = torch.zeros(len(rows), 2, *reach_kji, dtype=torch.uint8, device=self.home)
        before = [(r - p) // 2 for r, p in zip(reach_kji, patch_kji, strict=True)]
        for n, (volume, *first) in enumerate(rows.tolist()):
            image, region = self.images[volume], self.regions[volume]
            source, place = _overlap(first, before, image.shape, reach_kji)
            images[n, 0][place] = image[source].float()
            maps[n, 0][place] = self.targets[volume][source]
            maps[n, 1][place] = 1 if region is None else region[source].to(torch.uint8)
        return images.to(self.device), maps.to(self.device)


def patch_home(data: VolumeSet, device: str) -> str:
    """Where patches are cut: on the device, or on the host if it is short of room."""
    if not device.startswith("cuda"):
        return device
    arrays = ((v.image, v.target, v.region) for v in data.volumes)
    size_bytes = sum(a.nbytes for three in arrays for a in three if a is not None)
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return device if size_bytes < free_bytes / 2 else "cpu"


def _overlap(
    first: Sequence[int], before: Sequence[int], shape_kji: Sequence[int], reach_kji: Kji
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a cut lies in the volume, and where that lies in the cut."""
    source: list[slice] = []
    place: list[slice] = []
    for f, b, length, size in zip(first, before, shape_kji, reach_kji, strict=True):
        start, stop = max(f - b, 0), min(f - b + size, length)
        source.append(slice(start, stop))
        place.append(slice(start - (f - b), stop - (f - b)))
    return tuple(source), tuple(place)
