"""What the tests of the figures draw: a phantom's slices, invented scores, and a reader's eye."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.phantom.phantom import Phantom, make_phantom
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text

from training.reports.material import (
    RANKS,
    FigureMaterial,
    LesionOutcome,
    PatientDice,
    SliceView,
    VolumePair,
)
from training.score.calibration import Calibration
from training.score.cases import SetFacts
from training.score.lesions import LesionConfidence
from training.score.statistics import Interval
from training.score.voxels import slice_matrices

SMALLEST_POINTS = 8.5
NET_ARGS = {"width": 8, "size_px": 64, "attention_dropout": 0.0}
PREPROCESSING = SlicePreprocessing(grid_px=64, size_px=64)
PLAIN = FigureMaterial(
    scope="test split, 3 patients",
    volumes=9,
    preprocessing=PREPROCESSING,
    net="hybrid2d",
    net_args=NET_ARGS,
)


@lru_cache(maxsize=1)
def phantom() -> Phantom:
    """Seed 0 has liver on every slice and tumor on several."""
    return make_phantom(seed=0, shape_kji=(10, 96, 96), spacing_kji_mm=(15.0, 4.0, 4.0))


def toy_view(case: str = "7", shift_px: int = 1) -> SliceView:
    """The phantom's slice with most tumor; the prediction is the truth moved to the right."""
    made = phantom()
    k = int((made.labels == Label.TUMOR).sum(axis=(1, 2)).argmax())
    true = made.labels[k]
    return SliceView(case, k, made.ct.hu[k], true, np.roll(true, shift_px, axis=1), (4.0, 4.0))


def toy_views(count: int) -> list[SliceView]:
    """From the best prediction to the worst."""
    return [toy_view(f"case-{n}", shift_px=n) for n in range(count)]


def toy_history(epochs: int = 30) -> list[dict[str, Any]]:
    """Lines as training.train writes them; the validation loss is smallest in line 20 of 30."""
    return [
        {
            "epoch": n,
            "train_loss": 1.5 * 0.9**n + 0.2,
            "val_loss": 0.3 + 0.002 * (n - 20) ** 2,
            "val_liver_dice": 0.95 * (1 - 0.8**n),
            "val_tumor_dice": 0.6 * (1 - 0.95**n),
            "learning_rate": 5e-4 * 0.95**n,
            "size_px": 256,
            "seconds": 12.5,
        }
        for n in range(epochs)
    ]


def toy_calibration() -> Calibration:
    """Two bins out of four hold voxels; the upper one is too sure."""
    return Calibration(
        np.array([0.0, 0.25, 0.5, 0.75, 1.0]),
        np.array([900, 0, 0, 100]),
        np.array([18.0, 0.0, 0.0, 90.0]),
        np.array([18, 0, 0, 60]),
    )


def _set(name: str, patients: int, volumes: int, slices: int) -> SetFacts:
    return SetFacts(
        name=name,
        patients=patients,
        volumes=volumes,
        slices=slices,
        labeled_slices=0,
        tumor_slices=0,
        tumor_ml=(),
        names=(),
    )


def toy_material(**changes: Any) -> FigureMaterial:
    """All that the figures can show, of nine volumes."""
    views = toy_views(6)
    every = np.stack([slice_matrices(v.predicted[None], v.true[None])[0] for v in views])
    whole = replace(
        PLAIN,
        sets=[_set("train", 15, 21, 1869), _set("val", 4, 4, 384)],
        history=toy_history(),
        matrix=every.sum(axis=0),
        views=views,
        ranked=dict(zip(RANKS, views, strict=False)),
        ranked_of=77,
        calibration=toy_calibration(),
        lesions=[
            LesionOutcome(diameter, diameter > 8, 0.0 if diameter <= 8 else diameter / 60)
            for diameter in (4.0, 7.5, 8.0, 9.9, 10.0, 14.0, 20.0, 20.1, 55.0)
        ],
        confidences=[
            LesionConfidence(confidence, true_share)
            for confidence, true_share in (
                (0.9, 0.8),
                (0.85, 0.95),
                (0.6, 0.0),
                (0.3, 0.4),
                (0.2, 0),
            )
        ],
        pairs=[VolumePair(str(n), 5.0 * n, 5.0 * n + (-1) ** n, n / 2, n / 2) for n in range(9)],
        patient_dice=[
            PatientDice(f"p{n}", {"liver": 0.9 + n / 100, "tumor": n / 10}) for n in range(8)
        ],
        dice_intervals={
            "liver": Interval(mean=0.935, low=0.92, high=0.95, n=8, units=8),
            "tumor": Interval(mean=0.35, low=0.2, high=0.5, n=8, units=8),
        },
    )
    return replace(whole, **changes)


@contextmanager
def drawn_texts() -> Iterator[list[Text]]:
    """Collects every text that is really drawn; hidden tick labels are not.

    Images are left white meanwhile: they take most of the time and move no text.
    """
    found: list[Text] = []
    plain = Text.draw

    def draw(self: Text, *given: Any, **more: Any) -> None:
        if self.get_visible() and self.get_text().strip() and self not in found:
            found.append(self)
        plain(self, *given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", draw)
        patch.setattr(AxesImage, "draw", lambda *_: None)
        yield found


def read(figure: Figure) -> list[Text]:
    """The texts of a figure, laid out as in its file."""
    with drawn_texts() as found:
        figure.draw_without_rendering()
    return found


def texts_of(figure: Figure) -> list[str]:
    """All that a reader can read."""
    return [text.get_text() for text in read(figure)]


def complaints(figure: Figure, texts: list[Text]) -> list[str]:
    """What is cut off, printed over other text, or too small to read at 1600 pixels' width."""
    width, height = figure.bbox.size
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    found = [
        f"{name!r} is cut off"
        for name, box in boxes
        if min(box.x0, box.y0) < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]
    for (name, box), (other, second) in itertools.combinations(boxes, 2):
        across = min(box.x1, second.x1) - max(box.x0, second.x0)
        down = min(box.y1, second.y1) - max(box.y0, second.y0)
        if across > 1 and down > 1:
            found.append(f"{name!r} lies on {other!r}")
    small = [text.get_text() for text in texts if text.get_fontsize() < SMALLEST_POINTS]
    return found + [f"{name!r} is too small" for name in small]


def check_readable(figure: Figure) -> list[str]:
    """Fails when something cannot be read; else all that can."""
    found = read(figure)
    assert found
    wrong = complaints(figure, found)
    assert not wrong, wrong
    return [text.get_text() for text in found]
