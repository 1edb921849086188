"""The paper's Figures 1 to 11 and five plots more, from what an evaluation measured.

    material = FigureMaterial(scope="test split, 5 patients", volumes=5, ...)
    for name, file_or_reason in draw_all(Path("scores/figures"), material).items(): ...

Each figure is one function, material in, Matplotlib figure out. None reads a file or runs a model,
and none needs a display. One that fails costs no other, and no score.
For research only, not for diagnosis.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb

from training.reports.figures_cases import draw_errors, draw_masks, draw_overlays, draw_sample
from training.reports.figures_lesions import draw_bland_altman, draw_confidence, draw_lesions
from training.reports.figures_method import draw_enhancement, draw_preprocessing
from training.reports.figures_network import draw_network
from training.reports.figures_scores import draw_calibration, draw_confusion, draw_patients
from training.reports.figures_training import draw_dice, draw_loss
from training.reports.figures_workflow import draw_workflow
from training.reports.material import FigureMaterial, NotDrawn
from training.reports.style import Draw, save_png


@dataclass(frozen=True)
class FigureKind:
    """name: of the file, without .png. caption: what it shows, in one line."""

    name: str
    caption: str
    draw: Draw


FIGURES: tuple[FigureKind, ...] = (
    FigureKind("fig01-workflow", "From CT scans to scores", draw_workflow),
    FigureKind("fig02-sample", "One slice and its truth", draw_sample),
    FigureKind("fig03-preprocessing", "Preprocessing, step by step", draw_preprocessing),
    FigureKind("fig04-enhancement", "Slices before and after enhancement", draw_enhancement),
    FigureKind("fig05-network", "The network, block by block", draw_network),
    FigureKind("fig06-loss", "Loss during training", draw_loss),
    FigureKind("fig07-dice", "Dice and IoU during training", draw_dice),
    FigureKind("fig08-confusion", "Which class was taken for which", draw_confusion),
    FigureKind("fig09-masks", "Masks of three cases, truth against prediction", draw_masks),
    FigureKind("fig10-overlays", "Six cases, truth above, prediction below", draw_overlays),
    FigureKind("fig11-errors", "Errors from the best slice to the worst", draw_errors),
    FigureKind("calibration", "Can the tumor probability be believed?", draw_calibration),
    FigureKind("lesions-by-size", "Which lesions are found", draw_lesions),
    FigureKind("lesion-confidence", "How sure the model is of each lesion", draw_confidence),
    FigureKind("bland-altman", "Tumor volume and burden against the truth", draw_bland_altman),
    FigureKind("patients", "Dice of each patient", draw_patients),
)


def draw_all(
    folder: Path, material: FigureMaterial, only: Collection[str] | None = None
) -> dict[str, Path | str]:
    """Draw every figure into a folder: name -> its PNG, or the sentence why there is none.

    An error in the drawing of one is such a sentence too, for the evaluation behind the figures may
    have taken hours.

    only: names of FIGURES; None means all. The folder is made when it is missing. ``ValueError``,
    before anything is drawn, for an unknown name and when one of the files is there already.
    """
    unknown = set(only or ()) - {kind.name for kind in FIGURES}
    if unknown:
        raise ValueError(f"There is no figure {min(unknown)}; use the names of FIGURES.")
    wanted = [kind for kind in FIGURES if only is None or kind.name in only]
    taken = [kind.name for kind in wanted if (folder / f"{kind.name}.png").exists()]
    if taken:
        raise ValueError(f"{folder.name} holds {taken[0]}.png already; name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, Path | str] = {}
    for kind in wanted:
        try:
            figure = kind.draw(material)
            drawn[kind.name] = save_png(figure, folder / f"{kind.name}.png")
        except NotDrawn as reason:
            drawn[kind.name] = str(reason)
        except Exception as error:
            drawn[kind.name] = failure(error)
    return drawn


def reasons(drawn: Mapping[str, Path | str]) -> dict[str, str]:
    """Of what :func:`draw_all` gives, the figures that are missing."""
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
