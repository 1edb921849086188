"""The paper's Figures 1 to 11 and six plots more, from the summary of an evaluation.

    drawn = draw_all(Path("scores/figures"), summary, slices, look=Look("pdf", plain=True))
    for name, file_or_reason in drawn.items(): ...

Each figure is one function, the summary and what slices it shows in, a Matplotlib figure out. None
reads a file or runs a model, and none needs a display. One that fails costs no other, and no score.
For research only, not for diagnosis.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb

from matplotlib.figure import Figure

from training.reports.figures_cases import (
    draw_errors,
    draw_failures,
    draw_masks,
    draw_overlays,
    draw_sample,
)
from training.reports.figures_lesions import draw_bland_altman, draw_confidence, draw_lesions
from training.reports.figures_method import draw_enhancement, draw_preprocessing
from training.reports.figures_network import draw_network
from training.reports.figures_scores import draw_calibration, draw_confusion, draw_patients
from training.reports.figures_training import draw_dice, draw_loss
from training.reports.figures_workflow import draw_workflow
from training.reports.slices_to_show import NotDrawn, Slices
from training.reports.style import FORMATS, our_style, save
from training.score.summary import Record


@dataclass(frozen=True)
class FigureKind:
    """name: of the file, without its ending. caption: what it shows, in one line.

    draw: of the summary, and where it shows ``slices`` of those too.
    """

    name: str
    caption: str
    draw: Callable[..., Figure]
    slices: bool = False


FIGURES: tuple[FigureKind, ...] = (
    FigureKind("fig01-workflow", "From CT scans to scores", draw_workflow, slices=True),
    FigureKind("fig02-sample", "One slice and its truth", draw_sample, slices=True),
    FigureKind(
        "fig03-preprocessing", "Preprocessing, step by step", draw_preprocessing, slices=True
    ),
    FigureKind(
        "fig04-enhancement", "Slices before and after enhancement", draw_enhancement, slices=True
    ),
    FigureKind("fig05-network", "The network, block by block", draw_network),
    FigureKind("fig06-loss", "Loss during training", draw_loss),
    FigureKind("fig07-dice", "Dice and IoU during training", draw_dice),
    FigureKind("fig08-confusion", "Which class was taken for which", draw_confusion),
    FigureKind(
        "fig09-masks", "Masks of three cases, truth against prediction", draw_masks, slices=True
    ),
    FigureKind(
        "fig10-overlays", "Six cases, truth above, prediction below", draw_overlays, slices=True
    ),
    FigureKind("fig11-errors", "Errors from the best slice to the worst", draw_errors, slices=True),
    FigureKind("failures", "Where it fails, in outlines", draw_failures, slices=True),
    FigureKind("calibration", "Can the tumor probability be believed?", draw_calibration),
    FigureKind("lesions-by-size", "Which lesions are found", draw_lesions),
    FigureKind("lesion-confidence", "How sure the model is of each lesion", draw_confidence),
    FigureKind("bland-altman", "Tumor volume and burden against the truth", draw_bland_altman),
    FigureKind("patients", "Dice of each patient", draw_patients),
)


@dataclass(frozen=True)
class Look:
    """How figures are drawn. file_format: beside the PNG that the report shows, png for it alone.

    plain: without the paper's numbers and our notice, for print.
    """

    file_format: str = "png"
    plain: bool = False

    def __post_init__(self) -> None:
        if self.file_format not in FORMATS:
            raise ValueError(f"Figures can be {', '.join(FORMATS)}, not {self.file_format!r}.")

    @property
    def endings(self) -> list[str]:
        return list(dict.fromkeys(("png", self.file_format)))


PNG = Look()


def draw_all(
    folder: Path,
    summary: Record,
    slices: Slices,
    *,
    look: Look = PNG,
    only: Collection[str] | None = None,
) -> dict[str, Path | str]:
    """Draw every figure into a folder: name -> its PNG, or the sentence why there is none.

    An error in the drawing of one is such a sentence too, for the evaluation behind the figures may
    have taken hours. A figure that was there is replaced, or removed when it cannot be drawn now.

    only: names of FIGURES; None means all. The folder is made when it is missing. ``ValueError``,
    before anything is drawn, for an unknown name.
    """
    unknown = set(only or ()) - {kind.name for kind in FIGURES}
    if unknown:
        raise ValueError(f"There is no figure {min(unknown)}; use the names of FIGURES.")
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, Path | str] = {}
    for kind in FIGURES:
        if only is None or kind.name in only:
            for ending in FORMATS:
                (folder / f"{kind.name}.{ending}").unlink(missing_ok=True)
            drawn[kind.name] = _draw(kind, folder, summary, slices, look)
    return drawn


def _draw(
    kind: FigureKind, folder: Path, summary: Record, slices: Slices, look: Look
) -> Path | str:
    try:
        with our_style(plain=look.plain):
            figure = kind.draw(summary, slices) if kind.slices else kind.draw(summary)
            for ending in look.endings:
                save(figure, folder / f"{kind.name}.{ending}")
    except NotDrawn as reason:
        return str(reason)
    except Exception as error:
        return failure(error)
    return folder / f"{kind.name}.png"


def reasons(drawn: Mapping[str, Path | str]) -> dict[str, str]:
    """The figures that :func:`draw_all` could not draw, with the reasons."""
    return {name: made for name, made in drawn.items() if isinstance(made, str)}


def failure(error: Exception) -> str:
    """A sentence about an error that nobody foresaw, for a report that others read.

    What the error says of itself is left out when it may name a folder of this machine.
    """
    says = " ".join(str(error).split())
    kind = type(error).__name__
    what = f"{kind}, {says}" if says and not {"/", "\\"} & set(says) else kind
    frames = extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"An error in its drawing: {what}{where}. The scores do not depend on it."
