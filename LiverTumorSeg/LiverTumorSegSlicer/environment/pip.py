"""pip in a child of Slicer's Python: the window stays responsive, and the output is at hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from LiverTumorSegSlicer.run.process import EXIT_NOT_STARTED, Runner

QUIET = ("--disable-pip-version-check", "--no-input")
MOST_LINES = 400

OnPipEnd = Callable[[bool, str], None]


def runPip(
    runner: Runner,
    arguments: list[str],
    onEnd: OnPipEnd,
    onLine: Callable[[str], None] = lambda line: None,
) -> None:
    """Start pip; onLine for each line it prints, onEnd(whether it succeeded, its output) once."""
    said: deque[str] = deque(maxlen=MOST_LINES)

    def hear(line: str) -> None:
        said.append(line)
        onLine(line)

    def end(code: int, crashed: bool) -> None:
        onEnd(code == 0 and not crashed, "\n".join(said))

    command, *rest = arguments
    try:
        runner.start(["-m", "pip", command, *QUIET, *rest], hear, said.append, end)
    except OSError as error:
        said.append(str(error))
        end(EXIT_NOT_STARTED, False)
