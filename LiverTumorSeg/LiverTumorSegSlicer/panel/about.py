"""What Slicer shows under *Help & Acknowledgement*."""

from __future__ import annotations

from slicer.i18n import tr as _

from LiverTumorSegSlicer.scene.sample_data import ctLiverNote

HOMEPAGE = "https://github.com/LiverTumorSeg/SlicerLiverTumorSeg"  # not public yet
HYBRID2D_DOI, GUNETRPP_DOI = "10.35882/jeeemi.v8i3.1602", "10.3390/diagnostics16030429"


def helpText() -> str:
    """What the module does, as HTML."""
    return _(
        "<p>Finds the liver and its tumors in a contrast-enhanced CT of the abdomen and measures "
        "every tumor, as a segmentation to check and edit: load a CT, click <b>Segment</b>, edit "
        "the result. Nothing leaves this computer.</p>"
        "<p><b>For research only, not for diagnosis.</b></p>"
        '<p>{sample}</p><p>See <a href="{homepage}">the documentation</a>.</p>'
    ).format(sample=ctLiverNote(), homepage=HOMEPAGE)


def acknowledgementText() -> str:
    """Whose methods these are, as HTML."""
    return _(
        "<p>The networks are our own implementations of two published methods:</p><ul>"
        "<li>the hybrid 2D CNN-Transformer of Bader and Jarjees, JEEEMI 8(3), 2026, 983-999, "
        "{hybrid2d}</li>"
        "<li>the two-stage G-UNETR++ of Shin et al., Diagnostics 16(3), 2026, 429, {gunetrpp}</li>"
        "</ul>"
    ).format(hybrid2d=_link(HYBRID2D_DOI), gunetrpp=_link(GUNETRPP_DOI))


def _link(doi: str) -> str:
    return f'<a href="https://doi.org/{doi}">doi {doi}</a>'
