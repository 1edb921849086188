"""The paper's Figures 1 to 11 and four plots more, from what an evaluation measured.

    material = FigureMaterial(scope="test split, 5 patients", volumes=5, ...)
    for name, file_or_reason in draw_all(Path("scores/figures"), material).items(): ...

Each figure is one function, material in, Matplotlib figure out. None reads a file or runs a model,
and none needs a display. For research only, not for diagnosis.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from training.figures_cases import draw_errors, draw_masks, draw_overlays, draw_sample
from training.figures_lesions import draw_bland_altman, draw_lesions
from training.figures_material import FigureMaterial, NotDrawn
from training.figures_method import draw_enhancement, draw_preprocessing
from training.figures_network import draw_network
from training.figures_scores import draw_calibration, draw_confusion, draw_patients
from training.figures_style import Draw, save_png
from training.figures_training import draw_dice, draw_loss
from training.figures_workflow import draw_workflow


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
    FigureKind("bland-altman", "Tumor volume and burden against the truth", draw_bland_altman),
    FigureKind("patients", "Dice of each patient", draw_patients),
)


def draw_all(
    folder: Path, material: FigureMaterial, only: Collection[str] | None = None
) -> dict[str, Path | str]:
    """Draw every figure into a folder: name -> its PNG, or the sentence why there is none.

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
        except NotDrawn as reason:
            drawn[kind.name] = str(reason)
            continue
        drawn[kind.name] = save_png(figure, folder / f"{kind.name}.png")
    return drawn
