"""Predictions of networks, stored in a folder so that each case is predicted once.

    predictions = Predictions(Path("predictions"))
    prediction, seconds = predictions.of(segmenter, case, ct)   # runs the networks, or reads

A file is named by the case and by the model's hash with its options. It holds probabilities and no
gray values. Delete the folder after a change of the code that prepares CTs or runs networks.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path

from LiverTumorSegLib.files import read_json, whole_file
from LiverTumorSegLib.inference.prediction import Prediction
from LiverTumorSegLib.inference.segmenter import Segmenter
from LiverTumorSegLib.volume import CtVolume

from training.cases.case import Case


class Predictions:
    """Stored predictions. folder: where they lie; None to store none.

    options: by name what changes the answer beside the weights, such as test-time augmentation;
        those that are False or None do not count.
    """

    def __init__(self, folder: Path | None, **options: float | bool | None) -> None:
        self.folder = folder
        self.options = [f"{name} {value}" for name, value in sorted(options.items()) if value]

    def of(self, segmenter: Segmenter, case: Case, ct: CtVolume) -> tuple[Prediction, float]:
        """The prediction of a case, in LPS order, and the seconds that the networks took."""
        if self.folder is None or segmenter.sha256 is None:
            return _timed(segmenter, ct)
        self.folder.mkdir(parents=True, exist_ok=True)
        key = hashlib.sha256(f"{segmenter.sha256} {self.options}".encode()).hexdigest()[:16]
        path = self.folder / f"{case.name}-{key}.npz"
        clock = path.with_suffix(".json")
        with suppress(Exception):  # whatever a cut or older file raises: it is made anew
            prediction, seconds = Prediction.load(path), float(read_json(clock)["seconds"])
            if prediction.liver_lps.shape == ct.to_lps(copy=False)[0].shape_kji:
                return prediction, seconds
        prediction, seconds = _timed(segmenter, ct)
        prediction.save(path)
        with whole_file(clock) as part:
            part.write_text(json.dumps({"seconds": seconds}), encoding="utf-8")
        return prediction, seconds


def _timed(segmenter: Segmenter, ct: CtVolume) -> tuple[Prediction, float]:
    started = time.monotonic()
    prediction = segmenter.predict(ct)
    return prediction, time.monotonic() - started
