"""The model and device selectors: what can be chosen, and what each model says of itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from html import escape
from typing import Any

import qt
from LiverTumorSegLib.model.catalog import ModelEntry
from LiverTumorSegLib.model.spec import BundleError
from slicer.i18n import tr as _

from LiverTumorSegSlicer.environment.requirements import Environment, EnvironmentReport


class ModelChoice:
    """A combo box of the installed models. ``onChosen(name)``: a person chose another one."""

    def __init__(
        self, comboBox: Any, environment: Environment, onChosen: Callable[[str], None]
    ) -> None:
        self._box, self._environment, self._onChosen = comboBox, environment, onChosen
        self._entries: tuple[ModelEntry, ...] = ()
        self._wanted = ""
        comboBox.placeholderText = _("None")
        comboBox.connect("activated(int)", self._onActivated)

    @property
    def entry(self) -> ModelEntry | None:
        """The chosen model."""
        index = self._box.currentIndex
        return self._entries[index] if 0 <= index < len(self._entries) else None

    @property
    def problem(self) -> str:
        """Why no run can start with what is chosen; empty when one can."""
        if self.entry is not None:
            return ""
        if not self._entries:
            return _("No model is installed; import one in Environment.")
        return _("The model {name} is not installed; import it, or choose another one.").format(
            name=self._wanted
        )

    def named(self, name: str) -> ModelEntry | None:
        """The installed model of that name."""
        return next((entry for entry in self._entries if entry.name == name), None)

    def refresh(self) -> None:
        """Look again which models there are."""
        try:
            self._entries = self._environment.models()
        except BundleError:  # the environment's report tells which list is damaged
            self._entries = ()
        self._box.clear()
        for number, entry in enumerate(self._entries):
            self._box.addItem(entry.title, entry.name)
            self._box.setItemData(number, modelCard(entry), qt.Qt.ToolTipRole)
        self.select(self._wanted)

    def select(self, name: str) -> None:
        """Show a model; the empty name is the default one, or the first where none is."""
        self._wanted = name
        names = [entry.name for entry in self._entries]
        defaults = [entry.name for entry in self._entries if entry.default]
        meant = name or next(iter(defaults + names), "")
        self._box.currentIndex = names.index(meant) if meant in names else -1
        self._box.enabled = bool(self._entries)
        self._box.toolTip = modelCard(self.entry) if self.entry else escape(self.problem)

    def choose(self, name: str) -> None:
        """Show a model, and call ``onChosen``."""
        self.select(name)
        self._onChosen(name)

    def _onActivated(self, index: int) -> None:
        self.choose(self._entries[index].name)


def recallText(entry: ModelEntry | None) -> str:
    """How many tumors a model is known to miss: what everybody should know who reads its result."""
    if entry is None or entry.lesions_found is None:
        return _("How many tumors this model misses is not known; look at every slice yourself.")
    found, there = entry.lesions_found
    if entry.large_lesions_found is None:
        sentence = _(
            "This model finds {found} of {all} tumors in tests; what it does not mark may be a"
            " tumor."
        )
        return sentence.format(found=found, all=there)
    large, largeThere = entry.large_lesions_found
    sentence = _(
        "This model finds {found} of {all} tumors in tests, from 10 mm {large} of {largeAll}; what"
        " it does not mark may be a tumor."
    )
    return sentence.format(found=found, all=there, large=large, largeAll=largeThere)


def modelCard(entry: ModelEntry) -> str:
    """What one should know of a model before one uses it, as rich text for a tool tip."""
    rows = [f"<b>{escape(entry.title)}</b> ({escape(entry.name)} {escape(entry.version)})"]
    rows += [escape(entry.summary)] if entry.summary else []
    rows += [f"{escape(str(name))}: {escape(str(value))}" for name, value in entry.scores.items()]
    rows.append(_("License: {license}").format(license=escape(entry.licence)))
    if entry.file.size_bytes:
        rows.append(_("{size} MB on the disk").format(size=f"{entry.file.size_bytes / 1e6:.1f}"))
    rows.append(_("For research only, not for diagnosis."))
    return "<br>".join(rows)


class DeviceChoice:
    """A combo box of the devices. ``onChosen(device)``: a person chose another one."""

    def __init__(self, comboBox: Any, onChosen: Callable[[str], None]) -> None:
        self._box, self._onChosen = comboBox, onChosen
        gpu = "mps" if sys.platform == "darwin" else "cuda"
        for text, device in ((_("Automatic"), "auto"), (_("GPU"), gpu), (_("CPU"), "cpu")):
            comboBox.addItem(text, device)
        comboBox.connect("activated(int)", self._onActivated)

    def select(self, device: str) -> None:
        """Show a device; one that a script asked for, such as cuda:1, is added to the list."""
        if self._box.findData(device) < 0:
            self._box.addItem(device, device)
        self._box.currentIndex = self._box.findData(device)

    def problem(self, report: EnvironmentReport) -> str:
        """Why no run can start on what is chosen; empty when one can, or nobody has looked yet."""
        wantsGpu = str(self._box.currentData) not in ("auto", "cpu")
        if not wantsGpu or not report.isChecked or report.gpu is not None:
            return ""
        reason = report.gpuProblem or _("There is no GPU that PyTorch can use.")
        return _("{reason} Choose Automatic or CPU.").format(reason=reason)

    def _onActivated(self, index: int) -> None:
        self._onChosen(str(self._box.itemData(index)))
