"""One page to read and print, of the result that is shown."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from .lesion_panel import LesionPanel
from .page_maker import PageMaker


class ReportPanel:
    """The button *Report*."""

    def __init__(self, ui: Any, lesions: LesionPanel, pages: PageMaker) -> None:
        self._button, self._lesions, self._pages = ui.reportButton, lesions, pages
        self._button.connect("clicked(bool)", self._report)
        self.update()

    def update(self) -> None:
        """Whether there is something to report, and nothing else is being made."""
        self._button.enabled = self._pages.isFree and self._lesions.isMeasured

    def _report(self) -> None:
        path = self._pages.pathFor(_("Report"), self._lesions.nodes[0])
        if path is not None:
            self._pages.make(
                ["report"],
                {"followup": self._lesions.nodes},
                lambda page: self._pages.save(page, path),
                self._lesions.parts,
            )
