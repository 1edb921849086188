"""What the child process says of the files it writes, and of those it exchanges with the panel.

The keys are the English sentences (see sentences.py, which looks them up here).
"""

from __future__ import annotations

from slicer.i18n import tr as _


def lookUp(key: str) -> str:
    """The translation; the key itself where this file has none."""
    return _(key)


def forTranslators() -> tuple[str, ...]:
    """Every sentence, and every word that is put into one."""
    return (*_dicom(), *_exchanges(), *_disk())


def _dicom() -> tuple[str, ...]:
    """About a DICOM SEG and a report."""
    return (
        _("Reading the CT and the labels"),
        _("Writing files for other programs"),
        _("Say what to write: --dicom, --seg-nrrd, --stl or --obj."),
        _("No liver was found, so there is nothing to write as {what}."),
        _("{what} could not be made ({problem}); please report it."),
        _(
            "Writing {what} needs a package that is missing ({package}); get it with: pip install "
            "'livertumorseg[formats]'."
        ),
        _(
            "Writing DICOM needs highdicom, which is missing; get it with: pip install"
            " 'livertumorseg[dicom]'."
        ),
        _(
            "This CT is no DICOM, and DICOM results refer to the images that they were made of; "
            "give it as a DICOM folder, or leave out --dicom."
        ),
        _(
            "This CT is spread over several multi-frame files, or is one phase of such a file, and"
            " no DICOM result refers to these yet; leave out --dicom."
        ),
        _(
            "Images of this series lack their {what}, so that no DICOM can refer to them; export"
            " the series again with its identifiers, or leave out --dicom."
        ),
        _(
            "The slices of this CT were computed between images of several distances, so no DICOM"
            " can refer to its images slice by slice; leave out --dicom."
        ),
        _(
            "The DICOM files are not the CT that this result lies on: its grid is another (cropped"
            " or resampled, perhaps); segment the CT as it was loaded."
        ),
    )


def _exchanges() -> tuple[str, ...]:
    """Errors of the exchange between the two processes."""
    return (
        _("A CT volume has three axes; this array has shape {shape}."),
        _("CT numbers are kept as int16; this array is {kind}."),
        _("The volume's affine is singular: two axes point the same way."),
        _("The volume's affine must be a 4 x 4 matrix of finite numbers."),
        _("The volume's voxel spacing is zero; give the scan its real spacing."),
        _(
            "The labels cannot be handed over: {reason}. Free some space on the disk of the "
            "temporary folder."
        ),
        _("The folder holds no {file}; write it there first."),
        _("{file} has shape {other}, which for this CT is {wanted}; run it again."),
        _("{file} holds no 4 x 4 ijk_to_ras; write it anew."),
        _("{file} is damaged; write it anew."),
        _("{file} is not a JSON object; write it anew."),
        _("{file} is not a {kind} array of {axes} axes; write it anew."),
        _("A file or folder cannot be used ({reason}); check its name, permissions and disk."),
        _("LiverTumorSeg failed ({problem}); please report it."),
        _("The memory does not hold this CT; close other programs."),
    )


def _disk() -> tuple[str, ...]:
    """About files and folders that results are written to."""
    return (
        _("{file} exists; name another file or add --overwrite."),
        _("{file} is damaged: it holds no JSON object."),
        _("{file} cannot be written: {advice}."),
        _("{folder} is a file; name a folder for the results."),
        _("{there}; name another folder."),
        _("{folder} holds a folder {name}"),
        _("{folder} holds a file {name}"),
        _("{folder} holds {name} already; name another folder or add --overwrite."),
        _("the disk is full; free some space and run again"),
        _("no permission to write there; close programs that use it, or choose another folder"),
        _("its folder does not exist; make it first"),
        _("a file lies where its folder should be; choose another folder"),
        _("a folder has that name; choose another name"),
        _("the name is too long; choose a shorter one"),
        _("the disk refused it ({reason}); check the disk or choose another folder"),
    )
