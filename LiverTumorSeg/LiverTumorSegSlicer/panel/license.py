"""A model whose license forbids some uses is run after a person has agreed to that, once."""

from __future__ import annotations

from LiverTumorSegLib.model.catalog import ModelEntry
from slicer.i18n import tr as _

from LiverTumorSegSlicer.environment.remembered import Remembered

from .dialogs import Questions

FOR_EVERY_USE = ("cc0", "public domain", "apache", "mit", "bsd", "cc by 4", "cc-by-4")
NON_COMMERCIAL = "nc"


def isAgreed(entry: ModelEntry, remembered: Remembered, questions: Questions) -> bool:
    """Whether this model may be run here; a person is asked at most once for each license."""
    if entry.licence.lower().startswith(FOR_EVERY_USE):
        return True
    if remembered.hasAgreed(entry.name, entry.licence):
        return True
    if not questions.confirm(licenseQuestion(entry)):
        return False
    remembered.noteAgreement(entry.name, entry.licence)
    return True


def licenseQuestion(entry: ModelEntry) -> str:
    """The question that a person is asked before a model runs."""
    terms = entry.licence.lower().replace("-", " ").split()
    forbids = (
        _("It forbids commercial use.")
        if NON_COMMERCIAL in terms
        else _("It may forbid some uses; read it before you go on.")
    )
    return _(
        "The weights of the model {title} are under the license {license}, because of the data they"
        " were trained on. {forbids} The model is for research only, not for diagnosis.\n\nDo you"
        " agree?"
    ).format(title=entry.title, license=entry.licence, forbids=forbids)
