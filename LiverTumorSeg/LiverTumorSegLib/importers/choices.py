"""Options of importing a network from elsewhere; each an option of the command line."""

from __future__ import annotations

from dataclasses import dataclass, field

from LiverTumorSegLib.settings import Options


@dataclass(frozen=True, kw_only=True)
class ImportChoices(Options):
    """Options for what the folder itself does not say, or says of several networks."""

    NOUN = "import"

    labels: str | None = field(
        default=None,
        metadata={
            "help": "of a folder: which of the network's own labels mean liver and tumor, as in"
            " liver=1,tumor=2 or liver=5+6,tumor=7 (default: by their names)",
            "metavar": "liver=1,tumor=2",
        },
    )
    fold: str | None = field(
        default=None,
        metadata={
            "help": "of an nnU-Net folder: 0 to 4, or all (default: all, else the first there is)",
            "metavar": "N",
        },
    )
    configuration: str | None = field(
        default=None,
        metadata={
            "help": "of an nnU-Net folder: 3d_fullres, 3d_lowres or 2d (default: by its name)",
            "metavar": "NAME",
        },
    )
    orientation: str | None = field(
        default=None,
        metadata={
            "help": "how the CTs were stored that it was trained on, as nibabel names it (default:"
            " LPS, or what the folder says)",
            "metavar": "RAS",
        },
    )
    trust: bool = field(
        default=False,
        metadata={
            "help": "of a folder: also open a pickled checkpoint (.pth), which runs whatever code"
            " it holds, with your rights: only from who you trust"
        },
    )
