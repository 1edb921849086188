"""What the child process says of models: their files, weights, catalog and settings.

The keys are the English sentences (see sentences.py, which looks them up here).
"""

from __future__ import annotations

from slicer.i18n import tr as _


def lookUp(key: str) -> str:
    """The translation; the key itself where this file has none."""
    return _(key)


def forTranslators() -> tuple[str, ...]:
    """Every sentence, and every word that is put into one."""
    return (*_modelFiles(), *_weights(), *_catalog(), *_settings(), *_networks())


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
        _("gray is {gray!r}; use one of {known}."),
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
