"""What the tests of the figures draw: a phantom's slices, invented scores, and a reader's eye."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
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

from training.reports.slices_to_show import RANKS, Slices, SliceView
from training.score.calibration import Calibration, reliability
from training.score.statistics import bland_altman
from training.score.summary import Record, json_able
from training.score.voxels import slice_matrices

SMALLEST_POINTS = 8.5
NET_ARGS = {"width": 8, "size_px": 64, "attention_dropout": 0.0}
PREPROCESSING = SlicePreprocessing(grid_px=64, size_px=64)
NO_SLICES = Slices()


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


def toy_slices(views: Sequence[SliceView] | None = None, **changes: Any) -> Slices:
    """Six views, five of them ranked, all failures; or those views, ranked alike."""
    views = toy_views(6) if views is None else views
    ranked = dict(zip(RANKS, views, strict=False))
    return replace(Slices(views, ranked, ranked_of=77, failures=views), **changes)


def toy_lesions() -> list[Record]:
    """True ones: those up to 8 mm were missed."""
    return [
        {"diameter_mm": mm, "found": mm > 8, "dice": mm / 60 if mm > 8 else 0.0}
        for mm in (4.0, 7.5, 8.0, 9.9, 10.0, 14.0, 20.0, 20.1, 55.0)
    ]


def confident(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """What a summary holds of predicted lesions, each with its confidence and true share."""
    return {
        "lesions": {
            "true": toy_lesions(),
            "predicted": [{"confidence": c, "true_share": share} for c, share in pairs],
        },
        "lesion_confidence": {"bins": reliability(pairs)},
    }


def burdens(pairs: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """What a summary holds of volumes: true and predicted mL, true and predicted percent."""
    cases = [
        {
            "case": str(n),
            "patient": f"p{n}",
            "dice": {"liver": 0.9 + n / 100, "tumor": n / 10},
            "tumor_ml": {"true": pair[0], "predicted": pair[1]},
            "burden_percent": {"true": pair[2], "predicted": pair[3]},
        }
        for n, pair in enumerate(pairs)
    ]
    columns = np.array(pairs, np.float64).reshape(-1, 4).T
    limits = {
        "tumor_ml": vars(bland_altman(columns[1], columns[0])),
        "percent": vars(bland_altman(columns[3], columns[2])),
    }
    return {"cases": cases, "burden": limits}


def of_patients(
    dice: Mapping[str, tuple[float | None, float | None]],
    intervals: Mapping[str, tuple[float, list[float] | None]],
) -> dict[str, Any]:
    """Dice of a summary. dice: patient -> liver, tumor. intervals: mask -> mean, ends."""
    cases = [
        {"case": name, "patient": name, "dice": {"liver": liver, "tumor": tumor}}
        for name, (liver, tumor) in dice.items()
    ]
    means = {
        mask: {"dice": {"skip": {"mean": mean, "interval_by_patient": ends}}}
        for mask, (mean, ends) in intervals.items()
    }
    return {"cases": cases, "volumes": means}


def toy_summary(
    *,
    matrix: Any = None,
    calibration: Calibration | None = None,
    network: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Record:
    """All that the figures read in a summary, of nine volumes.

    matrix, calibration: as arrays. network: what differs from a small hybrid2d.
    """
    if matrix is None:
        matrix = sum(slice_matrices(v.predicted[None], v.true[None])[0] for v in toy_views(6))
    names = ("name", "patients", "volumes", "slices")
    sets = (("train", 15, 21, 1869), ("val", 4, 4, 384))
    pairs = [(5.0 * n, 5.0 * n + (-1) ** n, n / 2, n / 2) for n in range(9)]
    plain: Record = json_able(
        {
            "split": "test",
            "counts": {"volumes": 9, "patients": 3},
            "sets": [dict(zip(names, one, strict=True)) for one in sets],
            "network": {
                "net": "hybrid2d",
                "net_args": NET_ARGS,
                "preprocessing": PREPROCESSING.to_dict(),
                "recipe": None,
                **(network or {}),
            },
            "pooled": {"matrix": matrix},
            "calibration": (calibration or toy_calibration()).to_record(),
            **confident([(0.9, 0.8), (0.85, 0.95), (0.6, 0.0), (0.3, 0.4), (0.2, 0)]),
            **burdens(pairs),
            "volumes": of_patients(
                {}, {"liver": (0.935, [0.92, 0.95]), "tumor": (0.35, [0.2, 0.5])}
            )["volumes"],
            **{name: value for name, value in changes.items() if name != "history"},
        }
    )
    return {**plain, "history": changes.get("history", toy_history())}


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
