"""The tables of a report as files: CSV for a spreadsheet, LaTeX for a paper.

    save_tables(scores / "tables", tables, latex=True)      # volumes.csv, volumes.tex, ...

The LaTeX needs the package booktabs, and stands in a paper by ``\\\\input{volumes}``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from LiverTumorSegLib.files import whole_file
from LiverTumorSegLib.tables import safe_cell

from training.reports.page import Table

TABLE_FOLDER = "tables"
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "±": r"$\pm$",
        "\N{MULTIPLICATION SIGN}": r"$\times$",
        "≥": r"$\geq$",
        "≤": r"$\leq$",
        "\N{MINUS SIGN}": "$-$",
        "“": "``",
        "”": "''",
        "…": r"\dots{}",
    }
)


def save_tables(folder: Path, tables: Sequence[Table], *, latex: bool = False) -> None:
    """Write each table anew; what an earlier report left in the folder is removed."""
    folder.mkdir(exist_ok=True)
    for path in sorted((*folder.glob("*.csv"), *folder.glob("*.tex"))):
        path.unlink()
    for table in tables:
        texts = {"csv": as_csv(table), **({"tex": as_latex(table)} if latex else {})}
        for ending, text in texts.items():
            with whole_file(folder / f"{table.key}.{ending}", durable=False) as part:
                part.write_text(text, encoding="utf-8", newline="")


def as_csv(table: Table) -> str:
    """Heads, then rows, as the report shows them."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerows([safe_cell(cell) for cell in row] for row in (table.columns, *table.rows))
    return text.getvalue()


def as_latex(table: Table) -> str:
    """A floating table with title, conditions and notes; booktabs rules it."""
    first = "l" + "r" * (len(table.columns) - 1)
    lines = [" & ".join(map(escape, row)) + r" \\" for row in (table.columns, *table.rows)]
    caption = escape(" ".join(filter(None, (f"{table.title.rstrip('.')}.", table.context))))
    notes = [rf"\par\footnotesize {escape(note)}" for note in (*table.notes, *table.paper_notes)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{table.key}}}",
            rf"\begin{{tabular}}{{{first}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            *notes,
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Text that LaTeX sets as it stands, on one line."""
    return " ".join(text.split()).translate(LATEX)
