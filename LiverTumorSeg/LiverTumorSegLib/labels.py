"""What the numbers of a label map mean (LiTS numbering), with names, colors and SNOMED CT codes."""

from __future__ import annotations

from enum import IntEnum


class Label(IntEnum):
    """One voxel's class. Values are those of the LiTS challenge."""

    BACKGROUND = 0
    LIVER = 1
    TUMOR = 2

    @property
    def display_name(self) -> str:
        return self.name.capitalize()

    @property
    def color_rgb(self) -> tuple[int, int, int]:
        """Display color, 0-255: liver green, tumor red (hybrid2d paper, Figure 2)."""
        return _COLORS_RGB[self]

    @property
    def snomed(self) -> tuple[str, str]:
        """SNOMED CT (code, meaning); ``ValueError`` for the background."""
        if self is Label.BACKGROUND:
            raise ValueError("The background has no SNOMED code.")
        return _SNOMED[self]

    @property
    def category(self) -> tuple[str, str]:
        """SNOMED CT (code, meaning) of what kind of thing it is; ``ValueError`` as of snomed."""
        if self is Label.BACKGROUND:
            raise ValueError("The background has no SNOMED code.")
        return _CATEGORIES[self]


_COLORS_RGB = {
    Label.BACKGROUND: (0, 0, 0),
    Label.LIVER: (60, 200, 90),
    Label.TUMOR: (235, 50, 45),
}
_SNOMED = {
    Label.LIVER: ("10200004", "Liver"),
    Label.TUMOR: ("108369006", "Neoplasm"),
}
_CATEGORIES = {
    Label.LIVER: ("123037004", "Anatomical Structure"),
    Label.TUMOR: ("49755003", "Morphologically Altered Structure"),
}
