"""One case of a batch: run it, publish its folder whole, and know it again when it is done.

    runner = CaseRunner(out, settings, exports, made_by)
    row = runner.finished_row(case) or runner.row_of(case, voice)

A runner can be sent to another process or machine that sees the same files: the model stays behind.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from LiverTumorSegLib.settings import Exports, RunSettings

from .progress import CaseReporter
from .segment import load_model, segment_case, write_case

if TYPE_CHECKING:
    from LiverTumorSegLib.inference.segmenter import Segmenter

    from .batch_cases import BatchItem

STAMP = "batch.json"  # in each result: what it was made from and how


@dataclass
class CaseRunner:
    """Segments one CT after the other with one model, each into a result folder of its own.

    out: where the result folders go. made_by: model and settings, by which a result is known.
    """

    out: Path
    settings: RunSettings
    exports: Exports
    made_by: dict[str, Any]
    overwrite: bool = False
    model_folder: Path | None = None
    _segmenter: Segmenter | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_segmenter": None}

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._segmenter is not None

    def load(self) -> Segmenter:
        """The model, once for all cases."""
        if self._segmenter is None:
            self._segmenter = load_model(self.settings, self.model_folder)
        return self._segmenter

    def finished_row(self, case: BatchItem) -> dict[str, Any] | None:
        """The row of a case that is done: its result is whole, made so, and from this CT.

        None for all else, whatever the files hold that should say so.
        """
        from LiverTumorSegLib.files import read_json
        from LiverTumorSegLib.model.spec import file_sha256
        from LiverTumorSegLib.result.files import RECORD

        from .batch_summary import SKIPPED, line_of, result_row

        place = self.out / case.name
        try:
            stamp = read_json(place / STAMP)
            is_so = (
                stamp["settings"] == json.loads(json.dumps(self.made_by))
                and all((place / name).is_file() for name in (RECORD, *stamp["files"]))
                and stamp["record_sha256"] == file_sha256(place / RECORD)
                and (
                    stamp["source_fingerprint"] == case.fingerprint()
                    or stamp["source_sha256"] == case.sha256()
                )
            )
            row = result_row(case.name, SKIPPED, read_json(place / RECORD))
            line_of(row)
        except (OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
            return None
        return row if is_so else None

    def row_of(self, case: BatchItem, voice: CaseReporter) -> dict[str, Any]:
        """Run one case; what goes wrong in it becomes its row."""
        from LiverTumorSegLib.files import whole_folder

        from .batch_summary import DONE, failed_row, result_row

        place = self.out / case.name
        try:
            if row := self.finished_row(case):
                return row  # another batch, which has ended since we looked, made it
            _refuse_made_otherwise(place, self.overwrite)
            known = _result_files()
            with whole_folder(place, known=known, overwrite=self.overwrite) as part:
                record = self._make(case, part, voice)
            return result_row(case.name, DONE, record)
        except BrokenPipeError:  # nobody listens to this batch any more
            raise
        except MemoryError:
            sentence = "The memory does not hold this CT; close other programs."
        except ValueError as error:
            if row := self.finished_row(case):  # published by another run of it in the meantime
                return row
            sentence = " ".join(str(error).split())
        except Exception as error:  # a fault in one case is no reason to lose a night's others
            sentence = (
                f"LiverTumorSeg failed ({type(error).__name__}); try `livertumorseg segment` on"
                " this CT and report what it says."
            )
        return failed_row(case.name, sentence)

    def _make(self, case: BatchItem, part: Path, voice: CaseReporter) -> dict[str, Any]:
        """Write a case's files into a folder; their record."""
        from LiverTumorSegLib.inference.network import choose_device
        from LiverTumorSegLib.result.export.export import Export

        voice.progress(0.0, "Reading the CT")
        source = {"source_fingerprint": case.fingerprint(), "source_sha256": case.sha256()}
        export = Export.prepared(self.exports, case.series)
        ct, notes = case.read()
        for note in notes:
            voice.warning(note)
        result = segment_case(self.load(), self.settings, voice, ct, notes)
        result = write_case(replace(result, export=export), part, voice)
        _write_stamp(part, {"settings": self.made_by, **source})
        if result.segmentation.device != choose_device(self.settings.device):
            self._segmenter = None  # too large for the GPU, which the next case may fit again
        return result.to_dict()


def _write_stamp(folder: Path, made: dict[str, Any]) -> None:
    """The last file of a result, by which a later batch knows it; made: from what and how."""
    from LiverTumorSegLib.model.spec import file_sha256
    from LiverTumorSegLib.result.files import NOTICE, RECORD

    stamp = {
        "notice": NOTICE,
        **made,
        "record_sha256": file_sha256(folder / RECORD),
        "files": sorted(
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        ),
    }
    (folder / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")


def _result_files() -> tuple[str, ...]:
    from LiverTumorSegLib.result.files import ALL_FILES

    return (*ALL_FILES, STAMP)


def _refuse_made_otherwise(place: Path, overwrite: bool) -> None:
    """Before a case is run, not only when its results are there."""
    if os.path.lexists(place) and not place.is_dir():
        raise ValueError(f"{place.name} is a file; name another folder for the results.")
    if not overwrite and any(os.path.lexists(place / name) for name in _result_files()):
        raise ValueError(
            f"{place.name} holds results of another model, other settings or another CT, or not"
            " all of its files; name another folder or add --overwrite."
        )
