"""Self-training: a network's own predictions as tumor labels, where only cells with tumor are
known.

    relabel = SelfLabels.of(Path("runs/base"))
    box = relabel(box)          # other boxes come back as they are

Of slices with weak labels it is known which square cells of the liver hold tumor, and about how
much at least, but not where in the cell. A first network learns from a pixel classifier's guess;
what it says itself inside those cells may be nearer to the truth, and the next network can learn
from it.
Cells without tumor stay certain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from training.cases.scattered import IGNORE
from training.data.boxes import PREPROCESSING, LiverBox
from training.learn.step_trainer import STEP_RECIPES, trained_network

TUMOR = 2
HALF = 0.5
MIRRORS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))  # axes of rows and columns


@dataclass(frozen=True)
class SelfLabels:
    """Gives boxes with weak labels the tumor labels of a network.

    net: three channels in, HU relative to the liver, and scores of background, liver, tumor.
    """

    net: nn.Module

    @classmethod
    def of(cls, teacher: Path) -> SelfLabels:
        """The network of a run folder or of a model file; ``ValueError`` where it does not fit."""
        recipe = STEP_RECIPES["tumor-boxes"]
        return cls(trained_network(teacher, recipe, torch.device("cpu")))

    def __call__(self, box: LiverBox) -> LiverBox:
        if box.cells is None:
            return box
        least_px = round(box.least_tumor_mm2 / box.pixel_mm**2)
        label = [
            relabeled(box.label[k], box.cells[k], self.tumor(box, k), least_px)
            for k in range(len(box.label))
        ]
        return replace(box, label=np.stack(label))

    @torch.no_grad()
    def tumor(self, box: LiverBox, k: int) -> NDArray[np.float32]:
        """Probability of tumor (h, w) on slice k: the mean of four mirrored predictions."""
        image = torch.from_numpy(PREPROCESSING.seen(box.hu(k), box.liver_hu))
        height, width = image.shape[1:]
        multiple = PREPROCESSING.multiple_px
        dark = float(image.min())
        pad = (0, -width % multiple, 0, -height % multiple)
        padded = functional.pad(image[None], pad, value=dark)
        answers = [self.net(padded.flip(axes)).softmax(1)[:, TUMOR:].flip(axes) for axes in MIRRORS]
        mean: NDArray[np.float32] = torch.stack(answers).mean(0)[0, 0, :height, :width].numpy()
        return mean


def relabeled(
    label: NDArray[np.uint8],
    cells: NDArray[np.int32],
    tumor: NDArray[np.float32],
    least_px: int,
) -> NDArray[np.uint8]:
    """Labels (h, w) of one slice, 255 not known, in whose positive cells a network was asked.

    In each numbered cell: tumor where it is likelier than not, and at the likeliest pixels where
    that would be fewer than a cell with tumor has; not known where label says tumor and the
    network does not; liver elsewhere. Nothing else changes.
    """
    result = label.copy()
    for number in np.unique(cells[cells > 0]):
        inside = (cells == number) & (label > 0)
        likely = tumor[inside]
        threshold = HALF
        if least_px and (likely >= HALF).sum() < least_px:
            threshold = float(np.sort(likely)[-min(least_px, likely.size)])
        answer = np.where(label[inside] == TUMOR, IGNORE, 1)
        answer[likely >= threshold] = TUMOR
        result[inside] = answer
    return result
