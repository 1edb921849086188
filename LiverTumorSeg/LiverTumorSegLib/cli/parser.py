"""The commands, their options and their help: all that argparse needs.

args = build_parser().parse_args(["segment", "ct.nii.gz", "-o", "result"])
args.command, args.ct          # main.py makes a call with plain types of it
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from LiverTumorSegLib import __version__
from LiverTumorSegLib.importers.choices import ImportChoices
from LiverTumorSegLib.settings import Exports, RunSettings, Where

DEMO_SEED = 7
SERIES_HELP = (
    "which series of a DICOM folder: its number as `info` counts, its UID, or a pattern of its"
    " description, as 'portal*'"
)
ABOUT = """Find the liver and its tumors in a CT, from the command line.

  livertumorseg segment my_ct.nii.gz -o result     labels, lesion table and a picture
  livertumorseg batch my_cts results               the same for every CT in a folder, and a summary
  livertumorseg demo -o result                     the same on a synthetic CT with known truth
  livertumorseg measure ct.nii.gz labels.nii.gz -o result     the same numbers of any label map
  livertumorseg report result                      a page to read and print, of such a result
  livertumorseg export result -o files --stl       the same result for other programs
  livertumorseg compare before after -o change     two dates of one patient, lesion by lesion
  livertumorseg models list                        which models there are
  livertumorseg info my_ct.nii.gz                  what a CT or a model file holds

A CT is a NIfTI file, or a folder that holds a DICOM series.

For research only, not for diagnosis.
"""
SEGMENT_HELP = """Find the liver and its tumors in a CT.

The CT is a NIfTI file in Hounsfield units, of any orientation and spacing, or a folder that holds a
DICOM series (pip install 'livertumorseg[dicom]'); portal-venous contrast is what the model knows
best. Of a study's several series the likely portal-venous thin axial one is taken, and the result
says which and why; `livertumorseg info` lists them, and --series chooses another (--phase, where
one series holds several phases).
The result folder receives

  seg.nii.gz      labels on the CT's own grid: 1 liver, 2 tumor
  lesions.csv     a row a tumor: volume, longest axial diameter and perpendicular, place, mean HU,
                  and what speaks against its being one
  lesions.json    the same with liver volume, tumor burden, model, settings and warnings
  overview.png    slices with outlines, and the lesion list

and on demand

  seg.dcm, sr.dcm    --dicom, of a CT in DICOM: a DICOM SEG of liver and lesions, and their numbers
                     as a structured report (TID 1500), in the patient and study of the CT
  segmentation.seg.nrrd    --seg-nrrd, for 3D Slicer: names, colors and codes, a segment a lesion
  surfaces/          --stl, --obj: the liver with its tumors, and each lesion, in LPS millimeters

(the last two: pip install 'livertumorseg[formats]').

Nothing that exists is replaced without --overwrite, and a run that fails or is stopped (Ctrl-C)
leaves nothing. Exit code: 0 done, 2 refused (one sentence says why), 130 stopped.

For research only, not for diagnosis."""
BATCH_HELP = """Segment every CT in a folder.

IN is searched at any depth for NIfTI files (.nii, .nii.gz) and for DICOM series of CT (pip install
'livertumorseg[dicom]'); files and folders whose names begin with a dot do not count, nor does OUT
where it lies in IN. OUT receives

  CASE/          a folder for each CT, with what `livertumorseg segment` writes, and batch.json
                 (what it was made from and how)
  summary.csv    a row for each CT: done, skipped, failed or left out and why, liver and tumor
                 volume, burden, lesions, largest diameter, warnings, seconds, device, model
  lesions.csv    a row for each lesion of all CTs, with the case, its liver volume and the model
  columns.csv    what each column of the two is
  cohort.html    a page of it: distributions, and the CTs with most to look at first

CASE is the path of the file or of the series' folder below IN, with _ between its parts: the CT
site1/p7.nii.gz is site1_p7. Where two would be called alike, the second is site1_p7-2. Several
series in one folder are distinguished by their number, as in p8_series3.

A CT that cannot be segmented is a failed row; the others go on. Images that are no CT, archives,
folders of DICOM without a CT series, and what --one-per-study, --description and --min-slices do
not choose are left out, each with a row that says why. The same
command again skips the cases that are done, with the same model, settings and CT, and tries the
rest. Results that were made otherwise are left as they are and count as failed, unless --overwrite
allows to make them anew; other files in a case's folder stay. However a batch ends, OUT holds whole
results only, and two batches never write to one OUT at once.

On many machines that all see IN and OUT: --ray ADDRESS runs each CT as a task of a Ray cluster (pip
install 'livertumorseg[cluster]'; without an address on this machine), with retries where a worker
or a machine is lost. On Slurm without Ray, --array I/N runs a part, and afterwards the same command
without it writes the tables:

  livertumorseg batch cts results --ray auto
  srun livertumorseg batch cts results --array $SLURM_ARRAY_TASK_ID/20        (sbatch --array=1-20)

Exit code: 0 all done, skipped or left out, 1 some failed, 2 refused (one sentence says why), 130
stopped.

For research only, not for diagnosis."""
DEMO_HELP = """Make a synthetic CT whose truth is known, segment it, and compare.

A quick check that everything works, without any CT of your own. The folder receives what
`segment` writes, and

  phantom_ct.nii.gz      the synthetic CT
  phantom_truth.nii.gz   its true labels: 1 liver, 2 tumor

How well a model does on it proves nothing about patients. For research only, not for diagnosis."""
MEASURE_HELP = """Measure a label map: TotalSegmentator's, nnU-Net's, or one corrected by hand.

LABELS is a NIfTI, NRRD or MetaImage file on the CT's own grid, or on another grid of the same place
(then it is brought to the CT's by nearest voxels, and the record says so). The result folder
receives what `segment` writes: seg.nii.gz, lesions.csv, lesions.json and overview.png, and with
--dicom, --seg-nrrd, --stl or --obj the same again for other programs; `livertumorseg report` makes
a report of it.

  livertumorseg measure ct.nii.gz corrected.nii.gz -o result
  livertumorseg measure ct.nii.gz Segmentation.seg.nrrd -o result        by its own codes
  livertumorseg measure ct.nii.gz total.nii.gz -o result --labels liver=5
  livertumorseg measure ct.nii.gz nnunet.nii.gz -o result --labels liver=1+3,tumor=2
  livertumorseg measure ct.nii.gz corrected.nii.gz -o result --parts liver_segments
  livertumorseg measure volume-53.nii segmentation-53.nii -o result --trust-voxels

The last is for a map that lost its geometry, as some of LiTS have: its voxels are then those of the
CT, which is refused where they are no liver. --parts names parts of this liver that another program
outlined: the folder that TotalSegmentator writes (-ta liver_segments), its single file (--ml), a
.seg.nrrd, or any label map. The record then says in which part each lesion lies, and how much of
each part is free of tumor.

For research only, not for diagnosis."""
REPORT_HELP = """A result as one page to read, print and file: report.html, complete in itself.

It shows the liver, each lesion where it is longest with both diameters drawn, the table, proposed
RECIST 1.1 targets with boxes to tick, what is to be looked at, the model and what it is known to
miss. Labels that somebody corrected in seg.nii.gz are measured anew, and the page says so.

  livertumorseg report result --ct my_ct.nii.gz
  livertumorseg report result --ct my_ct.nii.gz --parts liver_segments      see measure --help
  livertumorseg report result --ct dicom_folder --with-patient --reader 'A. Reader' -o page.html

The CT is needed again (--ct), unless the folder holds it, as the demo's does. No patient is named
unless --with-patient asks for it. For research only, not for diagnosis."""
EXPORT_HELP = """A result that is there already, for an archive and other programs.

RESULT is a folder that `segment`, `batch` or `measure` wrote, and stays as it is; labels that
somebody corrected in its seg.nii.gz are measured anew. OUT is a new folder and receives

  seg.dcm, sr.dcm    --dicom: as of `segment --dicom`; segments that were corrected are called
                     semi-automatic
  segmentation.seg.nrrd    --seg-nrrd, and surfaces/    --stl, --obj: as of `segment`

  livertumorseg export result --ct dicom_folder -o for_the_archive --dicom

The CT is needed again (--ct), unless the folder holds it, as the demo's does. For research only,
not for diagnosis."""
COMPARE_HELP = """Two dates of one patient: which lesions are new, gone, grown or shrunk.

BASELINE and FOLLOWUP are result folders, or label maps. The livers are laid onto each other, each
lesion is matched, and the new folder receives

  comparison.csv   a row a lesion: its numbers on both dates, volumes, longest diameters, change
  comparison.json  the same with the sum of the targets, RECIST 1.1's category as an aid, and how
                   well the livers fit
  report.html      the report of the follow-up with a page of the change, both dates side by side

  livertumorseg compare before after -o change --baseline-ct jan.nii.gz --followup-ct may.nii.gz
  livertumorseg compare before after -o change --no-match 1 --match 2=3 --overwrite

The second corrects matches, by the numbers of the table: lesion 1 of the baseline is gone and what
it was matched with is new; 2 and 3 are the same lesion. Changes, sums and category follow, and
record and page say what was corrected. Of a lesion that is matched with another one already, 2=3
makes one that split or merged; --no-match comes first.

Livers that do not fit within 12 mm, or differ in volume by a factor of two, are refused: they are
hardly one patient's. Matches are a proposal, and the category is the reader's. For research only,
not for diagnosis."""
INFO_HELP = """What a CT or a model holds.

Of a NIfTI file or a DICOM series the grid and the CT numbers; of a DICOM folder each series with
description, date, kernel, contrast, phase, slices and folder, and which one `segment` takes; of a
.safetensors file, or of a model in `livertumorseg models list`, the network, settings, training
data and scores."""
MODELS_HELP = """List, check, import and remove models.

  livertumorseg models list                      what --model can name
  livertumorseg models import mine.safetensors   copy a model file into your model folder
  livertumorseg models import FOLDER             the same of a network of nnU-Net v2 or MONAI
  livertumorseg models verify                    is every file as it was?
  livertumorseg models remove mine               delete an imported model
  livertumorseg models where                     print your model folder

Nothing is ever fetched from a network."""
IMPORT_HELP = """Bring a model into your model folder.

A .safetensors file of LiverTumorSeg is copied. A network from elsewhere becomes such a file:

  livertumorseg models import nnUNetTrainer__nnUNetPlans__3d_fullres --name ours --fold 0
  livertumorseg models import liver_bundle --name theirs --labels liver=5+6,tumor=7
  livertumorseg segment my_ct.nii.gz -o result --model ours

Of nnU-Net v2 (plans.json, dataset.json, fold_*/) networks in 3D or 2D of one CT channel that find
liver and tumor, with weights as .safetensors, TorchScript (.ts), ONNX (.onnx; pip install
'livertumorseg[onnx]') or, with --trust, as the pickle that nnU-Net writes (.pth). Of MONAI a bundle
(configs/*.json, models/*.ts or *.onnx). Spacing, normalization, labels and patch are read as data
and no code of the folder is run, except for what --trust allows and the operations on tensors that
TorchScript and ONNX have."""


def build_parser() -> argparse.ArgumentParser:
    """All commands with their help; what is found has the command's name as ``command``."""
    parser = argparse.ArgumentParser(
        prog="livertumorseg",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"livertumorseg {__version__}")
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", dest="command"
    )
    _add_segment(commands)
    _add_batch(commands)
    _add_demo(commands)
    _add_measure(commands)
    _add_report(commands)
    _add_export(commands)
    _add_compare(commands)
    _add_models(commands)
    _add_info(commands)
    return parser


def _add_command(
    commands: Any, name: str, summary: str, text: str | None = None
) -> argparse.ArgumentParser:
    """A command, or an action of one; text is its own help, line by line."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=text or summary[0].upper() + summary[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_segment(commands: Any) -> None:
    parser = _add_command(commands, "segment", "find liver and tumors in a CT", SEGMENT_HELP)
    add = parser.add_argument
    add("ct", type=Path, nargs="?", metavar="CT", help=".nii or .nii.gz file, or DICOM folder")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="where results go")
    way.add_argument(
        "--raw",
        type=Path,
        metavar="FOLDER",
        help="for programs, instead of CT and -o: ct.npy and ct.json are read from FOLDER, and"
        " labels.npy, record.json and more written there",
    )
    _add_series_options(parser)
    _add_parent_option(parser)
    _add_run_options(parser, "replace results that are in the folder")
    Exports.add_options(parser)


def _add_batch(commands: Any) -> None:
    parser = _add_command(commands, "batch", "segment every CT in a folder", BATCH_HELP)
    add = parser.add_argument
    add("input", type=Path, metavar="IN", help="folder that holds the CTs")
    add("output", type=Path, metavar="OUT", help="folder for the results")
    add(
        "--only",
        metavar="PATTERN",
        help="only files and series whose name, or path below IN, is like this: 'volume-*'",
    )
    add(
        "--one-per-study",
        action="store_true",
        help="of each DICOM study only the likely portal-venous thin axial series",
    )
    add(
        "--description",
        metavar="PATTERN",
        help="only DICOM series whose description is like this: 'portal*'",
    )
    add("--min-slices", type=int, default=0, metavar="N", help="only CTs of so many axial slices")
    _add_run_options(parser, "make results anew that another model or other settings made")
    Exports.add_options(parser)
    Where.add_options(parser)


def _add_demo(commands: Any) -> None:
    summary = "make a synthetic CT, segment it, compare with its truth"
    parser = _add_command(commands, "demo", summary, DEMO_HELP)
    parser.add_argument(
        "--seed", type=int, default=DEMO_SEED, help=f"which abdomen (default {DEMO_SEED})"
    )
    where = "where results go"
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help=where)
    _add_run_options(parser, "replace results that are in the folder")


def _add_measure(commands: Any) -> None:
    summary = "measure the lesions of any label map"
    parser = _add_command(commands, "measure", summary, MEASURE_HELP)
    parser.add_argument("ct", type=Path, metavar="CT", help="NIfTI file or DICOM folder")
    parser.add_argument(
        "labels", type=Path, metavar="LABELS", help="label map: .nii.gz, .seg.nrrd, .nrrd or .mha"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="where results go"
    )
    parser.add_argument(
        "--labels",
        dest="numbers",
        metavar="liver=1,tumor=2",
        help="which numbers of the map mean liver and tumor (default: as shown)",
    )
    _add_trust_option(parser)
    _add_series_options(parser)
    _add_parts_option(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace results that are in the folder"
    )
    Exports.add_options(parser)


def _add_parts_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--parts",
        type=Path,
        metavar="PARTS",
        help="liver parts: a folder of masks (liver_segment_1.nii.gz), or a label map with names",
    )


def _add_report(commands: Any) -> None:
    summary = "make a page to read and print of a result"
    parser = _add_command(commands, "report", summary, REPORT_HELP)
    add = parser.add_argument
    add("folder", type=Path, metavar="RESULT", help="folder that holds a result")
    add("--ct", type=Path, metavar="CT", help="the CT that it was made of")
    _add_series_options(parser)
    add("-o", "--output", type=Path, metavar="FILE", help="where (default: RESULT/report.html)")
    add("--reader", default="", metavar="NAME", help="who read it, to be printed")
    add(
        "--with-patient",
        action="store_true",
        help="print the patient's name, number and dates, from the DICOM folder of the CT",
    )
    _add_parts_option(parser)
    add("--overwrite", action="store_true", help="replace a report that is there")
    _add_events_option(parser)
    _add_parent_option(parser)
    _add_folder_option(parser)


def _add_export(commands: Any) -> None:
    summary = "write a result for an archive and other programs"
    parser = _add_command(commands, "export", summary, EXPORT_HELP)
    add = parser.add_argument
    add("folder", type=Path, metavar="RESULT", help="folder that holds a result")
    add("--ct", type=Path, metavar="CT", help="the CT that it was made of")
    _add_series_options(parser)
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="where files go")
    add("--overwrite", action="store_true", help="replace such files that are in the folder")
    Exports.add_options(parser)
    _add_events_option(parser)
    _add_parent_option(parser)


def _add_compare(commands: Any) -> None:
    summary = "compare the lesions of two dates"
    parser = _add_command(commands, "compare", summary, COMPARE_HELP)
    add = parser.add_argument
    for name in ("baseline", "followup"):
        add(name, type=Path, metavar=name.upper(), help="result folder, or label map")
    for name in ("baseline", "followup"):
        add(f"--{name}-ct", type=Path, metavar="CT", help=f"the CT of the {name}")
    add("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where results go")
    add(
        "--labels",
        dest="numbers",
        metavar="liver=1,tumor=2",
        help="which numbers of a label map mean liver and tumor (default: as shown)",
    )
    _add_trust_option(parser)
    add(
        "--match",
        metavar="2=3",
        help="lesion 2 of the baseline is lesion 3 of the follow-up; several: 2=3,4=4",
    )
    add(
        "--no-match",
        metavar="1",
        help="lesion 1 of the baseline is none of those that it was matched with; several: 1,5",
    )
    add("--reader", default="", metavar="NAME", help="who read it, to be printed")
    add("--overwrite", action="store_true", help="replace results that are in the folder")
    _add_events_option(parser)
    _add_parent_option(parser)
    _add_folder_option(parser)


def _add_models(commands: Any) -> None:
    summary = "list, check, import and remove models"
    parser = _add_command(commands, "models", summary, MODELS_HELP)
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION", dest="action")
    listing = _add_command(actions, "list", "models that can be named")
    check = _add_command(actions, "verify", "compare files with their recorded SHA-256")
    check.add_argument("name", nargs="?", metavar="NAME", help="one model (default: all)")
    bring = _add_command(actions, "import", "bring a model into the model folder", IMPORT_HELP)
    bring.add_argument(
        "file",
        type=Path,
        metavar="FILE|FOLDER",
        help="a .safetensors model file, an nnU-Net v2 folder or a MONAI bundle",
    )
    bring.add_argument("--name", help="what to call it (default: as the file says)")
    bring.add_argument(
        "--overwrite", action="store_true", help="replace an imported model of that name"
    )
    ImportChoices.add_options(bring)
    drop = _add_command(actions, "remove", "delete an imported model")
    drop.add_argument("name", metavar="NAME", help="as `models list` shows it")
    where = _add_command(actions, "where", "print the model folder")
    for action in (listing, check, bring, drop, where):
        _add_folder_option(action)


def _add_info(commands: Any) -> None:
    parser = _add_command(commands, "info", "what a CT or a model holds", INFO_HELP)
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help=".nii, .nii.gz or .safetensors, a DICOM folder, or a model's name",
    )
    parser.add_argument("--series", metavar="WHICH", help=SERIES_HELP)
    parser.add_argument(
        "--phase",
        action="store_true",
        help="of a DICOM folder: also look at the images for the contrast phase, with the default"
        " model, which takes some seconds a series",
    )
    _add_folder_option(parser)


def _add_run_options(parser: argparse.ArgumentParser, overwrite: str) -> None:
    """Add the options of a segmentation. overwrite: the help text of --overwrite."""
    RunSettings.add_options(parser)
    parser.add_argument("--overwrite", action="store_true", help=overwrite)
    _add_events_option(parser)
    _add_folder_option(parser)


def _add_series_options(parser: argparse.ArgumentParser) -> None:
    """Which CT of a DICOM folder is meant."""
    parser.add_argument("--series", metavar="WHICH", help=SERIES_HELP)
    parser.add_argument(
        "--phase",
        type=int,
        metavar="N",
        help="which phase of a series that holds several, as `info` counts them",
    )


def _add_trust_option(parser: argparse.ArgumentParser) -> None:
    """For label maps whose place was lost on the way."""
    parser.add_argument(
        "--trust-voxels",
        action="store_true",
        help="take a label map voxel by voxel, though its header puts it elsewhere than the CT",
    )


def _add_events_option(parser: argparse.ArgumentParser) -> None:
    """Add --events: JSON lines for programs."""
    parser.add_argument(
        "--events", action="store_true", help="JSON lines instead of text, for programs"
    )


def _add_parent_option(parser: argparse.ArgumentParser) -> None:
    """Add --with-parent: end together with the parent process."""
    parser.add_argument(
        "--with-parent",
        action="store_true",
        help="for programs: end when standard input closes",
    )


def _add_folder_option(parser: argparse.ArgumentParser) -> None:
    """Add --model-folder: where imported models lie."""
    parser.add_argument(
        "--model-folder",
        type=Path,
        metavar="FOLDER",
        help="imported models (default: LIVERTUMORSEG_MODELS, else the user's data folder)",
    )
