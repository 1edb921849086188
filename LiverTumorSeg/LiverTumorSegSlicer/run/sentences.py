"""What the child process says, in the language of the person who reads it.

It sends a key and values (LiverTumorSegLib/sentences.py). The keys are the English sentences: those
below are here for the translators, who get them from this file, and because Slicer looks a text up
among those of the file that asks. So the sentences of models, of files and of DICOM series, which
lie beside this one, are asked for there.
"""

from __future__ import annotations

from typing import Any

from LiverTumorSegLib.sentences import key_and_values, sentence_of
from slicer.i18n import tr as _

from . import sentences_of_dicom, sentences_of_files, sentences_of_models

BESIDE = (sentences_of_models, sentences_of_files, sentences_of_dicom)


def translated(parts: Any, text: Any = "") -> str:
    """A sentence of the child process, translated.

    parts: its key and values; text: in English, and its own key where there are no values.
    """
    if not isinstance(parts, dict) or not isinstance(parts.get("key"), str):
        return _lookUp(str(text))
    key, values = parts["key"], parts.get("values")
    if not isinstance(values, dict) or not values:
        return _lookUp(key)
    try:
        return _lookUp(key).format(**{name: _value(value) for name, value in values.items()})
    except (KeyError, IndexError, ValueError, TypeError):  # a sentence of another version
        return str(text)


def translatedError(error: BaseException) -> str:
    """An error message of the library, translated."""
    return translated(key_and_values(sentence_of(error)), error)


def _value(value: Any) -> Any:
    return translated(value) if isinstance(value, dict) and "key" in value else value


def _lookUp(key: str) -> str:
    """The translation from the file that has one; the key itself where none has."""
    for lookUp in (_, *(file.lookUp for file in BESIDE)):
        if (text := lookUp(key)) != key:
            return text
    return key


def forTranslators() -> tuple[str, ...]:
    """Every sentence, and every word that is put into one."""
    ofRuns = (*_steps(), *_refusals(), *_doubts(), *_doubtsOfResults(), *_devices(), *_words())
    ofPanel = (*_clicks(), *_pages(), *_sensitivity())
    others = [text for file in BESIDE for text in file.forTranslators()]
    return (*ofRuns, *ofPanel, *others)


def _pages() -> tuple[str, ...]:
    """Sentences about a report, and about two dates."""
    return (
        _("Drawing the lesions"),
        _("Reading the baseline"),
        _("Reading the follow-up"),
        _("Laying the livers onto each other"),
        _("One of the two has no liver in its labels; nothing can be compared."),
        _(
            "The two livers do not fit onto each other ({apart:.0f} mm apart after alignment, at"
            " most {most:.0f}): give two CTs of one patient, with the liver whole and well"
            " segmented on both."
        ),
        _(
            "The two livers have {small:.0f} and {large:.0f} mL: give two CTs of one patient that"
            " both show the whole liver."
        ),
    )


def _steps() -> tuple[str, ...]:
    """Sentences about the steps of a run."""
    return (
        _("Making a synthetic abdomen"),
        _("Reading the CT"),
        _("Handing over the labels"),
        _("Loading the model"),
        _("Checking and measuring"),
        _("Drawing and writing"),
        _("Done"),
        _("Cleaning up"),
        _("Deciding at other sensitivities"),
        _("Back to the CT's own pixels, slice {k} of {count}"),
        _("Slice {n} of {count}"),
        _("Slice {done} of about {expected}"),
        _("Looking for the liver, slice {done} of {count}"),
        _("Window {done} of {count}"),
        _("{stage}: {phrase}"),
        _("Liver"),
        _("Tumor"),
        _("Looking for the liver"),
        _("Deciding on tumors, slice {n} of {count}"),
        _("Preparing the CT"),
        _("Preparing the liver"),
        _("Looking which phase a series shows"),
    )


def _refusals() -> tuple[str, ...]:
    """Why a CT is refused."""
    return (
        _(
            "This model scales each slice by its own least and greatest value and was trained on"
            " {kind} CT numbers, which this scan does not have; use a model with the window preset."
        ),
        _("{name} {what}; give the CT itself, with one number a voxel."),
        _(
            "{name} has voxels of {voxel} mm and would be {length} long{likely_unit}; export it "
            "again with its spacing in mm."
        ),
        _("{name} is empty (one of its axes has no voxels); export it again."),
        _("{name} is a single 2D picture; give the whole 3D scan."),
        _(
            "{name} has more than three axes (several time points or channels); give one 3D scan "
            "of it."
        ),
        _("{name} holds one slice only; give the whole 3D scan."),
        _(
            "{name} would have {shape} voxels, more than any CT; its header is damaged, or it is "
            "no CT: give the CT itself."
        ),
        _(
            "{name} gives no voxel spacing (zero or not a number); export it again with its "
            "spacing in mm."
        ),
        _("{name} has the same value, {low:g}, in every voxel; export the scan again."),
        _(
            "{name} holds fractions or a mask, values between 0 and 1; give the CT itself, in "
            "Hounsfield units."
        ),
        _(
            "{name} holds values from {low:g} to {high:g} only, like a label map or a normalized "
            "scan; give the CT itself, in Hounsfield units."
        ),
        _(
            "{name} has nothing below 0, so it is a picture, an MR or a CT without its offset; "
            "give a CT in Hounsfield units (air is -1000)."
        ),
        _(
            "{name} has its soft tissue near {tissue:.0f}, where Hounsfield units have it near 0,"
            " as in a CT without its offset; give it with {offset:+.0f} added to every voxel, or "
            "export it again in Hounsfield units (air is -1000)."
        ),
        _(
            "{name} has its soft tissue near {tissue:.0f}, where Hounsfield units have it near 0,"
            " and no usual offset would mend that, so its slope may be missing or wrong too; "
            "export it again in Hounsfield units (air is -1000, water 0)."
        ),
        _(
            "{name} has nothing below 0 but padding, so it is a picture, an MR or a CT without "
            "its slope and offset; give a CT in Hounsfield units (air is -1000)."
        ),
        _(
            "{name} has its air near {air:.0f}, where Hounsfield units have it at -1000, so its "
            "slope is missing or wrong; give it with every voxel times {air_hu:.2g}, or export it"
            " again in Hounsfield units."
        ),
        _(
            "{name} holds many values below {nothing_below_hu:g}, darker than air, so its slope "
            "or offset is wrong or was applied twice; export it again in Hounsfield units (air is"
            " -1000, water 0)."
        ),
        _(
            "{name} holds the value {value} in {share:.0%} of its voxels, brighter than any "
            "tissue: padding around the field of view; replace it by -1024 (air)."
        ),
    )


def _doubts() -> tuple[str, ...]:
    """Warnings about a CT."""
    return (
        _(
            "This CT's header holds no real spacing or orientation (its affine is the identity), "
            "so millimeters, volumes, left and right may be wrong; use the scan with its own "
            "geometry."
        ),
        _(
            "The rim of this CT holds the value {value} in {share:.0%} of its voxels, as padding "
            "around the field of view does, and there it looks like tissue; replace it by -1024 "
            "(air)."
        ),
        _(
            "The slices of this CT lie {slices_mm:.3g} mm apart; small tumors between them are "
            "not seen and volumes are rough."
        ),
        _(
            "The slices of this CT would be {width_mm:.0f} x {height_mm:.0f} mm, too small for a "
            "body; check the voxel spacing, or use the whole scan."
        ),
        _(
            "This CT has nothing below {low:.0f} HU, as if it had been cut to a display window; "
            "use the original scan if there is one."
        ),
        _(
            "This CT holds values outside {least} to {most} HU, which were clipped to that range;"
            " check that the scan is in Hounsfield units."
        ),
        _(
            "The spine in this CT lies in front, so its header has front and back exchanged (or "
            "the CT is turned over); left and right, and the result, may be wrong: export it "
            "again with its orientation."
        ),
        _(
            "The lungs in this CT lie at its lower end, so its header has head and feet "
            "exchanged; the result may be wrong: export it again with its orientation."
        ),
        _(
            "The body in this CT would be {width_mm:.0f} mm wide; its voxel spacing is probably "
            "wrong, and every volume and diameter with it: export the scan again with its "
            "spacing."
        ),
    )


def _doubtsOfResults() -> tuple[str, ...]:
    """Warnings about a result."""
    return (
        _(
            "{percent:.0f} % of the liver is at or above {top_hu} HU, the top of the model's"
            " window: bright lesions and vessels look alike there, so check it by eye."
        ),
        _(
            "This scan holds nothing below {least} HU, and the model has learned from CTs that do,"
            " down to {low} HU: use a model with a narrower window, or a CT that was not cut."
        ),
        _(
            "{volume_ml:.0f} mL were marked as liver and dropped, because {why}: the scan seems "
            "not to show the liver."
        ),
        _("The field of view cuts off the liver at a side: its volume is that of a part."),
        _(
            "The liver lies on the patient's left: the scan may be mirrored, or the organs are "
            "(situs inversus)."
        ),
        _("{several} hardly a liver tumor: {listed}{more}."),
        _(
            "The slices are {slice_mm:.1f} mm apart: lesions smaller than that can be missed, and"
            " volumes and diameters are rough."
        ),
        _("The scan shows only {height_mm:.0f} mm of the body: it may lack parts of the liver."),
        _(
            "{dense_ml:.0f} mL of what is marked as liver is brighter than {dense_hu:.0f} HU, as "
            "bowel full of contrast, lipiodol or metal is: look at it, and erase what is no liver."
        ),
        _(
            "The liver has {volume_ml:.0f} mL and an adult's mostly {least:.0f} to {most:.0f}: "
            "look whether all of it is marked and nothing else."
        ),
        _("Liver and tumors are marked in {count} separate pieces: look at each."),
        _(
            "The liver lies in the middle of the body and not on the right: look whether it is "
            "the liver."
        ),
        _(
            "The scan looks {kind} (liver {liver_hu:.0f} HU), and the model has learned from "
            "portal-venous CT: expect missed tumors and false ones."
        ),
        _(
            "The liver has {liver_hu:.0f} HU, {unlike} than those that the model has learned from"
            " ({low:.0f} to {high:.0f} HU): expect missed tumors and false ones."
        ),
        _("{mean_hu:.0f} HU, as fat or gas"),
        _("{mean_hu:.0f} HU, as a cyst, the gallbladder or bowel"),
        _("{mean_hu:.0f} HU, as calcium, metal or lipiodol"),
        _(
            "{marks} of tumor in fat or gas that goes on around ({values} HU): dropped, as no "
            "tumor is like that."
        ),
        _("its {liver_hu:.0f} HU are those of fluid or bowel"),
        _("its {liver_hu:.0f} HU are those of a kidney"),
        _(
            "The liver is cut off at the {where} of the scan, where it has {area_cm2:.0f} cm2: "
            "its volume is that of a part."
        ),
        _(
            "The liver is marked up to {gap_mm:.1f} mm from the {where} of the scan: look "
            "whether a part of it lies beyond."
        ),
    )


def _devices() -> tuple[str, ...]:
    """Sentences about the device."""
    return (
        _("Device {wanted!r} is unknown; use auto, cpu, cuda, cuda:0 or mps."),
        _("This computer has no Apple GPU that PyTorch can use; use cpu."),
        _("This computer has no CUDA device that PyTorch can use; use cpu."),
        _("cannot run this network ({error})"),
        _("{whose} ran short: continued with {batch} {some} at a time."),
        _("There is no device {wanted!r}; use {there} or cpu."),
        _("The Apple GPU {reason}; use cpu."),
        _("The Apple GPU {reason}: the run went on with the CPU."),
        _("The memory does not hold one {one}; close other programs."),
        _("The region to look at is empty; there is nothing for the network."),
    )


def _clicks() -> tuple[str, ...]:
    """Why nothing is added where a person has clicked."""
    return (
        _("Click inside the liver, on a lesion that is not marked yet."),
        _(
            "What is there ({lesion_hu:.0f} HU) looks like the liver around it ({liver_hu:.0f} HU);"
            " draw it in Segment Editor."
        ),
    )


def _sensitivity() -> tuple[str, ...]:
    """What a step of sensitivity did in tests, and which steps there are."""
    return (
        _(
            "Where it was tuned it found {large} of {large_true} tumors from 10 mm and {small} of"
            " {small_true} smaller ones, with {false_marks:.1f} false marks a CT."
        ),
        _(
            "The sensitivity is {steps}; this model has {fewest} (fewer marks) to {most}"
            " (more marks), and 0 as tested."
        ),
    )


def _words() -> tuple[str, ...]:
    """Words that are put into a sentence."""
    return (
        _("The volume"),
        _("windowed"),
        _("raw"),
        _("is a color (RGB) picture"),
        _("holds complex numbers"),
        _("holds voxels of an unknown type"),
        _("unenhanced"),
        _("of the arterial phase"),
        _("darker"),
        _("brighter"),
        _("bottom"),
        _("top"),
        _("it is tumor without any liver"),
        _("no whole liver is that small"),
        _("no spine lies behind it"),
        _("it lies in the middle of a narrow part of the body"),
        _("bone closes around it, as a skull does"),
        _("computes other numbers than the CPU"),
        _("it computes other numbers than the CPU"),
        _("it computes {numbers} instead of 9"),
        _("Memory"),
        _("GPU memory"),
        _("slice"),
        _("slices"),
        _("patch"),
        _("patches"),
        _("Lesion"),
        _("Lesions"),
        _("1 mark"),
        _("Fetching the labels"),
    )
