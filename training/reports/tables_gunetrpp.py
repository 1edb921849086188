"""Scores on the G-UNETR++ paper's grid, beside what its authors print.

tables = [grid_table("tumor", record, context), cases_table(record, context)]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training.reports.page import Table, mean_sd
from training.score.gunetrpp_grid import COLUMNS, GridMask
from training.score.words import number

# Result tables of the authors' two repositories: LiTS, 20 livers and 16 tumor-bearing volumes.
PUBLISHED: dict[GridMask, dict[str, float]] = {
    "liver": {
        "dice": 0.9737,
        "jaccard": 0.9490,
        "voe": 0.0511,
        "ravd": 0.0201,
        "assd_px": 0.64,
        "rmsd_px": 1.17,
        "mssd_px": 12.75,
    },
    "tumor": {
        "dice": 0.844,
        "jaccard": 0.737,
        "voe": 0.263,
        "ravd": 0.133,
        "assd_px": 1.317,
        "rmsd_px": 3.189,
        "mssd_px": 28.33,
        "precision": 0.863,
        "npv": 0.9995,
    },
}
PUBLISHED_CASES: dict[GridMask, int] = {"liver": 20, "tumor": 16}
# The 16 volumes behind the tumor's 0.844, after the authors' postprocessing (their notebook).
PUBLISHED_TUMOR_DICE = {
    "3": 0.845,
    "17": 0.873,
    "18": 0.718,
    "28": 0.901,
    "33": 0.703,
    "37": 0.846,
    "43": 0.884,
    "64": 0.958,
    "70": 0.897,
    "77": 0.729,
    "80": 0.927,
    "90": 0.761,
    "100": 0.900,
    "104": 0.883,
    "110": 0.796,
    "123": 0.875,
}


def grid_table(mask: GridMask, record: Mapping[str, Any], context: str) -> Table:
    """The authors' measures beside the numbers that they give."""
    rows = [
        (
            shown,
            mean_sd(record[mask][column]["all"]),
            mean_sd(record[mask][column]["published"]),
            number(PUBLISHED[mask][column], 4) if column in PUBLISHED[mask] else "",
        )
        for column, shown in COLUMNS.items()
    ]
    return Table(
        key=f"published-grid-{mask}",
        title=f"{mask.capitalize()} on the G-UNETR++ paper's grid, mean ± SD over volumes with it",
        columns=(
            "measure",
            "every volume",
            "without volumes of Dice 0, as published",
            f"G-UNETR++, LiTS (n = {PUBLISHED_CASES[mask]})",
        ),
        rows=rows,
        context=context,
        notes=(
            "256 x 256 pixels a slice, slices as they are, every distance in pixels of side 1; not"
            " in mm, so unlike the tables above. Both label maps are brought there as the authors"
            " do it, linearly and cut to whole numbers, which takes a rim off each.",
            "The published numbers are of other volumes and other training data: what stands side"
            " by side is no comparison unless the volumes are the same (next table).",
        ),
    )


def cases_table(record: Mapping[str, Any], context: str) -> Table:
    """Tumor Dice of each volume with tumor, beside the authors' own of the same LiTS number."""
    cases = [case for case in record["cases"] if case["tumor"]["true_px"] > 0]
    rows = [
        (
            case["case"],
            number(case["tumor"]["dice"]),
            number(case["tumor"]["assd_px"], 2),
            str(case["tumor"]["true_px"]),
            number(PUBLISHED_TUMOR_DICE.get(case["case"])),
        )
        for case in cases
    ]
    shared = [case for case in cases if case["case"] in PUBLISHED_TUMOR_DICE]
    return Table(
        key="published-grid-cases",
        title="Tumor of each volume on the G-UNETR++ paper's grid",
        columns=("case", "Dice", "ASSD, pixels", "pixels of tumor", "Dice of G-UNETR++"),
        rows=rows,
        context=context,
        notes=(_shared_note(shared),),
    )


def _shared_note(shared: Sequence[Mapping[str, Any]]) -> str:
    if not shared:
        return "None of these volumes is among the 16 whose Dice the authors show."
    ours = np.mean([case["tumor"]["dice"] for case in shared])
    theirs = np.mean([PUBLISHED_TUMOR_DICE[case["case"]] for case in shared])
    return (
        f"Over the {len(shared)} that the authors show too: {ours:.3f} here and {theirs:.3f} there,"
        " if the case names are LiTS numbers."
    )
