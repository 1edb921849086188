"""What the child process says of the DICOM series that a CT is read from.

The keys are the English sentences (see sentences.py, which looks them up here).
"""

from __future__ import annotations

from slicer.i18n import tr as _


def lookUp(key: str) -> str:
    """The translation; the key itself where this file has none."""
    return _(key)


def forTranslators() -> tuple[str, ...]:
    """Every sentence, and every word that is put into one."""
    return (*_files(), *_whichSeries(), *_places(), *_numbers(), *_doubts(), *_words())


def _files() -> tuple[str, ...]:
    """Why a file is refused."""
    return (
        _(
            "Reading DICOM needs pydicom, which is missing; get it with: pip install"
            " 'livertumorseg[dicom]'."
        ),
        _("{file} is a damaged DICOM file; copy or export it again."),
        _(
            "{file} holds more pixels than its {rows} rows of {columns} columns; its header was"
            " changed, so export it again."
        ),
        _(
            "{file} does not say where each of its {count} images lies; export the series again, as"
            " one file a slice."
        ),
        _("{file} unpacks to far more than a CT; export the series again, uncompressed."),
        _(
            "The image in {file} is cut off, damaged or compressed in a way that cannot be read;"
            " copy or export the series again, uncompressed."
        ),
        _(
            "The images of this series are compressed ({how}) in a way that cannot be read; export"
            " the series uncompressed."
        ),
        _(
            "The images of this series are compressed ({how}), which needs python-gdcm; get it"
            " with: pip install 'livertumorseg[dicom]'."
        ),
    )


def _whichSeries() -> tuple[str, ...]:
    """Why files are not taken for one CT."""
    return (
        _(
            "{folder} is a folder without a CT series in DICOM; give a folder that holds one, or"
            " one .nii or .nii.gz file."
        ),
        _(
            "This folder holds {found} CT series; choose one with --series, 1 to {count}"
            " (`livertumorseg info` on the folder lists them)."
        ),
        _(
            "This series holds {count} phases; choose one with --phase, 1 to {count}"
            " (`livertumorseg info` on the folder lists them)."
        ),
        _(
            "This series holds {count} phases; choose one with --phase (`livertumorseg info` on its"
            " folder lists them), or export one alone."
        ),
        _("This series holds no CT image; give a CT series."),
        _("This series holds color pictures; give the CT itself."),
    )


def _places() -> tuple[str, ...]:
    """Why images are no stack of slices."""
    return (
        _(
            "This series holds images of different sizes, as if two scans were mixed; export one"
            " alone."
        ),
        _(
            "This series does not say where its images lie in the patient; export it again with"
            " their positions."
        ),
        _("This series gives no pixel spacing; export it again with its spacing."),
        _(
            "The images of this series lie in different planes, as if two scans were mixed; export"
            " the axial one alone."
        ),
        _(
            "The images of this series have different pixel spacings, as if two scans were mixed;"
            " export one alone."
        ),
        _("This series has a broken orientation in its header; export the series again."),
        _("This series gives no pixel spacing (zero or less); export it again with its spacing."),
        _(
            "The slices of this series lie {least_mm:.3g} to {most_mm:.3g} mm apart, which is no"
            " regular scan; export a reconstruction with equal distances."
        ),
        _(
            "Slices are missing from this series: there is a gap of {widest_mm:g} mm where others"
            " lie {least_mm:g} mm apart; copy or export the whole series again."
        ),
        _(
            "This series holds more than one image at the same place (several phases, or a scan"
            " sent twice); export one phase alone."
        ),
    )


def _numbers() -> tuple[str, ...]:
    """Why the numbers in the images are no Hounsfield units."""
    return (
        _(
            "This series holds other numbers than Hounsfield units (a dual-energy map, perhaps);"
            " give the CT itself."
        ),
        _(
            "{without} of the {count} images of this series do not say how their numbers become"
            " Hounsfield units; export the series again."
        ),
        _("This series has a rescale slope of 0 in its header; export it again."),
    )


def _doubts() -> tuple[str, ...]:
    """Warnings about a series that is read."""
    return (
        _("The images of this CT were compressed with loss; fine detail may be missing."),
        _(
            "This CT does not say how its numbers become Hounsfield units and they were taken as"
            " they are; check that air is near -1000."
        ),
        _(
            "This CT names a unit of its numbers that is not known; they were taken for Hounsfield"
            " units, so check that it is no map of something else."
        ),
        _(
            "The slices of this CT lie {least_mm:.3g} to {most_mm:.3g} mm apart by plan; slices"
            " every {step_mm:.3g} mm were computed between them, and the labels have these."
        ),
        _(
            "The slices of this CT lie {least_mm:.3g} to {most_mm:.3g} mm apart and were taken as"
            " evenly spaced, which moves some by up to {off_mm:.1f} mm; check the result there."
        ),
        _(
            "This CT was made with its gantry tilted by {tilt_degrees:.0f} degrees; its slices were"
            " taken as they lie, and diameters are those within them."
        ),
        _("An overview picture (localizer) in the series did not count as a slice of this CT."),
        _(
            "{count} overview pictures (localizer) in the series did not count as a slice of this"
            " CT."
        ),
        _("An image was in this series more than once, with equal pixels, and counted once."),
        _(
            "{count} images were in this series more than once, with equal pixels, and counted"
            " once."
        ),
    )


def _words() -> tuple[str, ...]:
    """Words that are put into a sentence."""
    return (
        _("This series"),
        _("This path"),
        _("an unknown kind"),
        _("own SOPInstanceUID"),
    )
