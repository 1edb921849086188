"""What the child process says, in the language of the person who reads it.

It sends a key and values (LiverTumorSegLib/sentences.py). The keys are the English sentences: those
below are here for the translators, who get them from this file, and because Slicer looks a text up
among those of the file that asks.
"""

from __future__ import annotations

from typing import Any

from LiverTumorSegLib.sentences import key_and_values, sentence_of
from slicer.i18n import tr as _


def translated(parts: Any, text: Any = "") -> str:
    """A sentence of the child process, translated.

    parts: its key and values; text: in English, and its own key where there are no values.
    """
    if not isinstance(parts, dict) or not isinstance(parts.get("key"), str):
        return _(str(text))
    key, values = parts["key"], parts.get("values")
    if not isinstance(values, dict) or not values:
        return _(key)
    try:
        return _(key).format(**{name: _value(value) for name, value in values.items()})
    except (KeyError, IndexError, ValueError, TypeError):  # a sentence of another version
        return str(text)


def translatedError(error: BaseException) -> str:
    """An error message of the library, translated."""
    return translated(key_and_values(sentence_of(error)), error)


def _value(value: Any) -> Any:
    return translated(value) if isinstance(value, dict) and "key" in value else value


def forTranslators() -> tuple[str, ...]:
    """Every sentence, and every word that is put into one."""
    ofRuns = (*_steps(), *_refusals(), *_doubts(), *_doubtsOfResults(), *_devices(), *_words())
    ofModels = (*_modelFiles(), *_weights(), *_catalog(), *_settings(), *_networks())
    return (*ofRuns, *ofModels, *_exchanges(), *_clicks(), *_pages(), *_sensitivity(), *_dicom())


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


def _modelFiles() -> tuple[str, ...]:
    """Why a model's file is refused."""
    return (
        _("A cascade's networks must be liver and tumor."),
        _("Get the file again from where it came."),
        _("The file cannot be read ({reason}). Check its permissions."),
        _("The file has {count} bytes too many. {again}"),
        _(
            "The file holds weights but not what they are for. Use a file that LiverTumorSeg's "
            "training has written."
        ),
        _(
            "The file is a pickled checkpoint, which can run code when it is opened and is "
            "therefore never read. Use the .safetensors file that training writes beside it."
        ),
        _("The file is cut off inside its header. {again}"),
        _("The file is cut off: {count} bytes are missing. {again}"),
        _("The file's header is damaged. {again}"),
        _("The key {key!r} in the model's description is unknown: {newer}"),
        _("The model's description is not a JSON object. {again}"),
        _("The model's description is not valid JSON. {again}"),
        _("The model's description lacks {missing}. {again}"),
        _("The model's format is {number!r}, not {expected}. {again}"),
        _("The model's format is {number} and {known} is known here: {newer}"),
        _(
            "The model's labels must number its classes 0, 1, 2, ... with background as 0; they "
            "are {labels}."
        ),
        _("The model's networks are not described by dictionaries."),
        _("The model's {key} must be two rising HU numbers; it is {hu_range!r}."),
        _("The model's provenance says {value!r} of {key}, which is of another kind."),
        _("The model's tta must be true or false; it is {tta!r}."),
        _(
            "The model's {key} holds something that JSON cannot keep ({problem}). Use plain "
            "finite numbers, texts, lists and dictionaries."
        ),
        _("The model's {key} must be a dictionary."),
        _("The model's {key} must be a text that is not empty."),
        _("The {stage} network of a cascade has the labels {labels}."),
        _("There is no such model file. Check the path, or see `livertumorseg models list`."),
        _("This is not a model file. Give a .safetensors file made by LiverTumorSeg."),
        _("the file was made by a newer version of LiverTumorSeg. Update LiverTumorSeg."),
        _("{file}: {problem}"),
        _("{problem} Export the model again, or use another one."),
    )


def _weights() -> tuple[str, ...]:
    """Why a model's tensors are refused."""
    return (
        _("Storage {storage!r} is unknown; use {known}."),
        _("The file belongs to another net or version; export it again, or use another model."),
        _("The file is damaged or was changed: its SHA-256 is {digest}, not {sha256}. {again}"),
        _("The file's tensors are damaged ({problem}). {again}"),
        _(
            "The net {net!r} cannot be built from the model's arguments {arguments}: {problem} "
            "Export the model again with this version, or use another one."
        ),
        _(
            "The net {net!r} is unknown here (known: {known}). Update LiverTumorSeg, or use a "
            "model of a known net."
        ),
        _("The net's {name} is {value}, which its tensors do not bear out. {other}"),
        _("{count} tensors are missing ({first}, ...). {other}"),
        _("{count} tensors have no place ({first}, ...). {other}"),
        _("{name} has shape {shape} and the net needs {needed}. {other}"),
        _(
            "{name} holds numbers that are not finite (NaN or infinite): its training went wrong "
            "or the file is damaged. Use an earlier checkpoint or get the file again."
        ),
        _("{name} holds {largest:.3g}, too large for half precision. Save with storage fp32."),
        _("{name} is not the {stage} network of a cascade."),
        _(
            "{name} cannot answer together with {first}: join networks that differ in "
            "nothing but their weights."
        ),
        _("{name} is {kind}, not {needed}. {other}"),
        _("{name} of shape {shape} has scales of shape {scales}, which do not fit. {again}"),
    )


def _catalog() -> tuple[str, ...]:
    """Errors in the list of models."""
    return (
        _("A model {name!r} is there already. Choose another name or overwrite it."),
        _("An entry of the model catalog is damaged or from a newer version ({problem}). {mend}"),
        _("Cannot make the folder {folder}: {reason}. Choose another with {variable}."),
        _("Cannot remove {file}: {reason}. Check who may write to its folder."),
        _("Import the model again."),
        _("Install LiverTumorSeg again."),
        _("It has {size} bytes instead of {wanted}. {again}"),
        _("It was changed: its SHA-256 is not {sha256}. {again}"),
        _("Remove the model {name!r} and import it again."),
        _(
            "The model {name!r} came with LiverTumorSeg and stays; only imported models can be "
            "removed."
        ),
        _("The model's file is missing. {again}"),
        _("There is no default model"),
        _("There is no imported model {name!r}. Name one of: {imported}."),
        _("There is no model {wanted!r}"),
        _("default is neither true nor false"),
        _("it has {count} files; join them: {command}"),
        _("its scores are no object"),
        _("not an object"),
        _("{file!r} has no size in bytes or unknown keys"),
        _("{file!r} is not a plain file name with its SHA-256"),
        _("{file} is the {stage} network of a cascade; first join both by {command}."),
        _("{file}: It changed while it was copied. Import it again."),
        _("{file}: The list of models cannot be read. {mend}"),
        _("{file}: The list of models is damaged. {mend}"),
        _("{file}: The list of models is not a JSON object. {mend}"),
        _("{key} is no text of one line"),
        _(
            "{name!r} cannot name an imported model. Choose a name of small letters, digits, "
            "'.', '_' and '-' that starts with a letter or digit and is not {default!r}."
        ),
        _("{name!r} is a model of LiverTumorSeg's own. Choose another name."),
        _("{problem}. Give the path of a model file or a known name (known: {known})."),
    )


def _settings() -> tuple[str, ...]:
    """Which setting a model or a run has wrong."""
    return (
        _("{array!r} is no part of an array; write I/N with I from 1 to N, as in 3/20."),
        _("--array and --ray are two ways to share the work; use one of them."),
        _("The kind of {noun} is {kind!r}, not {wanted!r}."),
        _("Unknown {noun} settings: {unknown}. Known are: {known}."),
        _("device is {device!r}; give auto, cpu, cuda or cuda:1."),
        _("model is {model!r}; give a name or a file."),
        _("whole number"),
        _("Give a sensitivity or a tumor threshold, not both."),
        _(
            "The model {name} was tested with one decision only, so it has no steps of"
            " sensitivity; give a tumor threshold in place of them."
        ),
        _("{name} is {value!r}; give a {number} of 0 or more."),
        _("{name} is {value!r}; give true or false."),
        _("{name} is {value!r}; give {least:g} to {most:g}."),
        _("This model's confidence is not calibrated; choose a decision first."),
        _("calibration is {pair!r}; give two numbers, a slope of 0 or more and an offset."),
        _("tumor_threshold is {tumor_threshold}; give one within 0 to 1."),
        _(
            "Labels are 0 (background), 1 (liver) and 2 (tumor); found {least} to {value}. Map "
            "other structures to one of these first."
        ),
        _("Labels are a 3D array of integers; this one is {kind} with shape {shape}."),
        _("The kind of postprocessing {kind!r} is unknown."),
        _("The spacing is {spacing}; give three lengths in mm above zero."),
        _("This version grows no small tumors; see training/reproduce."),
        _("preset is {preset!r}; use one of {known}."),
        _(
            "size_px is {size_px} and grid_px {grid_px}; size_px must be a multiple of 8 and "
            "grid_px one of clahe_tiles, {clahe_tiles}."
        ),
        _("window_hu is {window}; give two numbers of HU."),
        _("window_hu {window} is empty; put the lower bound first."),
        _("There is no liver to look for tumors in."),
        _("window_hu is {window}; use up to 255 HU, lower bound first."),
        _("axcodes are {axcodes!r}; give one of R, L, one of A, P and one of S, I, as in RAS."),
        _("spacing_mm is {spacing}; give three lengths, or two for a network of slices."),
        _("{name} is {pair}; give two numbers of HU."),
        _("{name} is {pair}; give a clip that rises, and a deviation above 0."),
        _("This network sees the liver alone; run the liver network first."),
        _("This network sees the whole image; it has no use for a liver mask."),
        _("mask_as_channel needs a mask; give liver_margin_mm, say 0."),
        _("size_px is {size_px}; use a multiple of 32, as 256."),
        _("A volume comes as (channels, k, j, i); this one is {shape}."),
        _(
            "The network's answer has shape {shape} and its patch {patch}; use a network whose "
            "answer is as large as its patch."
        ),
        _(
            "The region to look at has shape {shape} and the volume {volume}; give one value for "
            "each voxel."
        ),
        _("mirror_axes are {axes}; give each of 0, 1, 2 once."),
        _("overlap is {overlap}; give a share of 0 or more, below 1."),
        _("patch_kji is {patch}; give three sizes above 0."),
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


def _networks() -> tuple[str, ...]:
    """Why a network cannot be run."""
    return (
        _("A network from elsewhere works alone, not in a cascade; use it so."),
        _("A patch network works only in a cascade of two; use another model."),
        _("The liver network needs to be shown the liver; join the files anew."),
        _("The model's classes are {labels}, not {known}; use another model."),
        _("The net {net!r} takes no patches; use another model."),
        _("The net {net!r} takes no slices; use another model."),
        _("The preprocessing {kind!r} is unknown here (known: {known}). Update LiverTumorSeg."),
        _("{name} is the {stage} network of a cascade; join it with the other, by {command}."),
        _("{problem} The model file needs a newer LiverTumorSeg."),
        _("This network needs to be shown the liver; run a liver network first."),
    )


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
