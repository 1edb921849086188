"""Which cases meet the hybrid2d paper's rules (Bader & Jarjees 2026, II.A), and why others do not.

selection = select_cases(check_cases(cases), Rules())
save_selection(selection, Path("selection.csv"))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from LiverTumorSegLib.tables import csv_text

from training.cases.case import Case
from training.cases.folder import CaseCheck, CaseReport
from training.cases.stratified import stratified_sets
from training.cases.table import key_column, read_csv
from training.files import write_text

MIN_TUMOR_SLICES = 5  # II.A
# Of the largest slice's liver. A liver ends in a tip and a dome: of 18 whole ones the outermost
# slice held at most 9 %, of slices up to 6.5 mm apart.
CUT_OFF_SHARE = 0.10
Coverage = Literal["full", "cut", "unknown"]
Included = Literal["yes", "no"]
COLUMNS = (
    "name",
    "patient_group",
    "kind",
    "split",
    "included",
    "reason",
    "coverage",
    "slices",
    "liver_slices",
    "tumor_slices",
    "tumor_ml",
)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Inclusion criteria for cases.

    motion: names of cases with severe motion artifacts, seen by eye.
    strict_coverage: leave out cases that may not show the whole liver.
    count: how many patients to draw of those that are left, one scan each; ``None`` keeps all.
    """

    min_tumor_slices: int = MIN_TUMOR_SLICES
    motion: frozenset[str] = frozenset()
    strict_coverage: bool = False
    count: int | None = None
    seed: int = 42


@dataclass(frozen=True)
class Selected:
    """Whether a case is included. reason: why it was left out, or a reservation; empty for none."""

    check: CaseCheck
    included: bool
    reason: str

    def row(self) -> dict[str, Any]:
        """A line of the CSV."""
        check, case = self.check, self.check.case
        return {
            "name": case.name,
            "patient_group": case.group,
            "kind": case.kind,
            "split": case.split or "",
            "included": "yes" if self.included else "no",
            "reason": self.reason,
            "coverage": coverage(check) if case.kind == "case" and check.liver_slices else "",
            "slices": check.slices,
            "liver_slices": check.liver_slices,
            "tumor_slices": check.tumor_slices,
            "tumor_ml": f"{check.tumor_ml:.3f}",
        }


def coverage(check: CaseCheck) -> Coverage:
    """Whether the scan shows the whole liver, by how much liver its outermost slices hold.

    "unknown" where every slice shows liver: a file that was cut down to the liver looks like a scan
    that cuts it off.
    """
    if check.liver_slices == check.slices:
        return "unknown"
    return "cut" if max(check.end_shares) > CUT_OFF_SHARE else "full"


def select_cases(report: CaseReport, rules: Rules) -> list[Selected]:
    """Judge every case of a report; context files follow their scans.

    Raises ``ValueError`` when ``rules.motion`` names no case, or fewer patients are left than
    ``rules.count``.
    """
    names = {check.case.name for check in report.checks if check.case.kind == "case"}
    if unknown := sorted(rules.motion - names):
        raise ValueError(
            f"The motion list names {unknown[0]}, which is not in the folder; "
            "use the names that python -m training.check shows."
        )
    judged = [_judge(check, rules) for check in report.checks if check.case.kind == "case"]
    if rules.count is not None:
        judged = _drawn(judged, rules.count, rules.seed)
    by_name = {one.check.case.name: one for one in judged}
    return [by_name.get(check.case.name) or _follow(check, by_name) for check in report.checks]


def _judge(check: CaseCheck, rules: Rules) -> Selected:
    if reasons := list(_reasons(check, rules)):
        return Selected(check, False, "; ".join(reasons))
    return Selected(check, True, _UNKNOWN if coverage(check) == "unknown" else "")


_UNKNOWN = "coverage cannot be judged: every slice shows liver, as if the file was cut down to it"


def _reasons(check: CaseCheck, rules: Rules) -> Iterator[str]:
    """Each rule that a case does not meet."""
    yield from (problem.rstrip(".") for problem in check.problems)
    if not check.liver_slices:  # unreadable or empty, said above: nothing else is known
        return
    if not check.tumor_slices:
        yield "no tumor"
    elif check.tumor_slices < rules.min_tumor_slices:
        yield f"{check.tumor_slices} tumor slices, fewer than {rules.min_tumor_slices}"
    covered = coverage(check)
    if covered == "cut":
        end = "lowest" if check.end_shares[0] > check.end_shares[1] else "highest"
        yield (
            f"the liver is cut off: the scan's {end} slice shows "
            f"{max(check.end_shares):.0%} of the largest liver slice"
        )
    elif covered == "unknown" and rules.strict_coverage:
        yield _UNKNOWN
    if check.case.name in rules.motion:
        yield "severe motion artifact (by the list of such cases)"


def _follow(check: CaseCheck, by_name: dict[str, Selected]) -> Selected:
    """A context file, if nothing is wrong with it, goes with its scan."""
    scan = by_name.get(str(check.case.number))
    if check.problems:
        return Selected(check, False, "; ".join(p.rstrip(".") for p in check.problems))
    if scan is None:
        return Selected(check, False, "its scan is not in the folder")
    return Selected(check, scan.included, "" if scan.included else "its scan is left out")


def _drawn(judged: Sequence[Selected], count: int, seed: int) -> list[Selected]:
    """The selection with only ``count`` cases included, each of another patient."""
    best: dict[str, Selected] = {}
    for one in sorted((j for j in judged if j.included), key=_best_first):
        best.setdefault(one.check.case.group, one)
    if not 1 <= count <= len(best):
        raise ValueError(
            f"{len(best)} patients meet the rules and {count} were asked for; "
            "ask for at least one and no more than there are."
        )
    sizes_ml = {group: one.check.tumor_ml for group, one in best.items()}
    chosen = set(best)
    if count < len(best):
        chosen = set(
            stratified_sets(sizes_ml, Counter(best.keys()), (len(best) - count, count, 0), seed)
        )
    taken = {best[group].check.case.name for group in chosen}
    return [_unless_taken(one, taken, best, count, seed) for one in judged]


def _best_first(one: Selected) -> tuple[int, int]:
    """A patient's scans, the one with most tumor slices first."""
    return -one.check.tumor_slices, one.check.case.number


def _unless_taken(
    one: Selected, taken: set[str], best: dict[str, Selected], count: int, seed: int
) -> Selected:
    case = one.check.case
    if not one.included or case.name in taken:
        return one
    drawn = best[case.group].check.case.name
    reason = f"meets the rules but was not drawn (count {count}, seed {seed})"
    if drawn in taken:
        reason = f"another scan of the same patient, {drawn}, was drawn"
    return replace(one, included=False, reason=reason)


def selection_text(selection: Sequence[Selected]) -> str:
    """A line a case and the totals; context files are not listed."""
    cases = [one for one in selection if one.check.case.kind == "case"]
    lines = [f"{'name':<10}{'group':<12}{'tumor slices':>13}{'tumor ml':>10}  included  reason"]
    lines += [
        f"{one.check.case.name:<10}{one.check.case.group:<12}{one.check.tumor_slices:>13}"
        f"{one.check.tumor_ml:>10.2f}  {'yes' if one.included else 'no':<8}  {one.reason}".rstrip()
        for one in cases
    ]
    included = [one for one in cases if one.included]
    patients = len({one.check.case.group for one in included})
    unknown = sum(coverage(one.check) == "unknown" for one in included)
    lines.append(f"{len(included)} of {len(cases)} cases are included, of {patients} patients.")
    if unknown:
        lines.append(
            f"Whether {unknown} of them show the whole liver cannot be judged (every slice shows "
            "liver); --strict-coverage leaves such cases out."
        )
    lines.append("Motion artifacts were not looked for: list blurred scans by --exclude-motion.")
    return "\n".join(lines)


def save_selection(selection: Sequence[Selected], path: Path) -> None:
    """Write the CSV; the file appears whole or not at all."""
    write_text(path, csv_text(COLUMNS, (one.row() for one in selection)))


def read_selection(path: Path, cases: Sequence[Case]) -> tuple[list[Case], dict[str, float] | None]:
    """The included cases with their context files, and tumor volumes in ml by name.

    The file needs the columns ``name`` (or ``file``) and ``included`` (yes, no); volumes are
    ``None`` when it has no ``tumor_ml``. Raises ``ValueError`` when a case has no row.
    """
    columns, lines = read_csv(path)
    key = key_column(columns, "included", path)
    rows = {line[key]: line for line in lines}
    included: set[int] = set()
    volumes_ml: dict[str, float] = {}
    for case in cases:
        if case.kind != "case":
            continue
        shown = case.file if key == "file" else case.name
        row = rows.get(shown)
        if row is None or row["included"] not in get_args(Included):
            raise ValueError(f"{path.name} does not say yes or no for {shown}; add it to the file.")
        if row["included"] == "yes":
            included.add(case.number)
        if "tumor_ml" in row:
            volumes_ml[case.name] = _milliliters(row["tumor_ml"], shown, path)
    chosen = [case for case in cases if case.number in included]
    return chosen, volumes_ml if "tumor_ml" in columns else None


def _milliliters(text: str, shown: str, path: Path) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f'{path.name} has tumor_ml "{text}" for {shown}; give milliliters or no such column.'
        ) from None
