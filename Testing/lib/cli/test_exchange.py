"""Raw arrays between programs: exact, whole or refused, and nothing of the patient but voxels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from LiverTumorSegLib.cli.exchange import (
    Answer,
    read_answer,
    read_request,
    write_answer,
    write_request,
)
from looped import looped
from numpy.typing import NDArray

SHAPE = (5, 7, 9)
AFFINE = np.array([[-0.7, 0.1, 0, 12.3], [0.1, -0.7, 0.2, 1 / 3], [0, 0.2, 2.5, -7], [0, 0, 0, 1]])


def some_hu() -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(-1024, 3071, SHAPE).astype(np.int16)


def some_answer(*, probabilities: bool = True) -> Answer:
    random = np.random.default_rng(1)
    share = random.random((3, *SHAPE)).astype(np.float16) if probabilities else None
    labels = random.integers(0, 3, SHAPE).astype(np.uint8)
    return Answer(labels, {"notice": "for research", "lesions": [{"volume_ml": 0.1}]}, share)


def test_a_ct_arrives_bit_by_bit(tmp_path: Path) -> None:
    write_request(tmp_path, some_hu(), AFFINE)
    ct = read_request(tmp_path)
    np.testing.assert_array_equal(ct.hu, some_hu())
    np.testing.assert_array_equal(ct.ijk_to_ras, AFFINE)
    assert {path.name for path in tmp_path.iterdir()} == {"ct.npy", "ct.json"}


@looped("view", [lambda a: a[::-1, :, ::2], lambda a: a.transpose(2, 0, 1), np.asfortranarray])
def test_the_order_in_memory_does_not_matter(
    tmp_path: Path, view: Callable[[NDArray[np.int16]], NDArray[np.int16]]
) -> None:
    hu = view(some_hu())
    write_request(tmp_path, hu, AFFINE)
    np.testing.assert_array_equal(read_request(tmp_path).hu, hu)


def test_the_ct_is_a_file_that_numpy_itself_reads(tmp_path: Path) -> None:
    write_request(tmp_path, some_hu(), AFFINE)
    mapped = np.load(tmp_path / "ct.npy", mmap_mode="r")
    np.testing.assert_array_equal(mapped, some_hu())
    assert mapped.flags.c_contiguous


@looped("probabilities", [False, True])
def test_an_answer_arrives_bit_by_bit(tmp_path: Path, probabilities: bool) -> None:
    sent = some_answer(probabilities=probabilities)
    write_answer(tmp_path, sent)
    got = read_answer(tmp_path, SHAPE)
    np.testing.assert_array_equal(got.labels_kji, sent.labels_kji)
    assert got.record == sent.record
    if sent.probabilities is None:
        assert got.probabilities is None
    else:
        assert got.probabilities is not None
        np.testing.assert_array_equal(got.probabilities, sent.probabilities)


def test_an_earlier_answers_probabilities_do_not_stay(tmp_path: Path) -> None:
    write_answer(tmp_path, some_answer(probabilities=True))
    write_answer(tmp_path, some_answer(probabilities=False))
    assert read_answer(tmp_path, SHAPE).probabilities is None


def test_writing_can_be_stopped_and_leaves_no_whole_ct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("LiverTumorSegLib.cli.exchange.BLOCK_BYTES", 1)
    slices = iter([None, None])

    def stop() -> None:
        next(slices)

    with pytest.raises(StopIteration):
        write_request(tmp_path, some_hu(), AFFINE, stop)
    with pytest.raises(ValueError, match=r"no ct\.json"):
        read_request(tmp_path)


def test_an_answer_without_its_record_is_none(tmp_path: Path) -> None:
    """The record is written last: without it the arrays may be another run's."""
    write_answer(tmp_path, some_answer())
    (tmp_path / "record.json").unlink()
    with pytest.raises(ValueError, match=r"no record\.json"):
        read_answer(tmp_path, SHAPE)


@looped("name", ["ct.npy", "ct.json"])
def test_a_missing_half_of_the_ct_is_refused(tmp_path: Path, name: str) -> None:
    write_request(tmp_path, some_hu(), AFFINE)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=f"holds no {name}"):
        read_request(tmp_path)


@looped("name", ["ct.npy", "ct.json"])
@looped("share", [0.0, 0.3, 0.9])
def test_a_cut_file_is_refused(tmp_path: Path, name: str, share: float) -> None:
    write_request(tmp_path, some_hu(), AFFINE)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        read_request(tmp_path)


@looped(
    "text", ["{}", '{"ijk_to_ras": 3}', '{"ijk_to_ras": [[1, 2], [3]]}', "[]", '{"ijk_to_ras":"x"}']
)
def test_a_wrong_geometry_is_refused(tmp_path: Path, text: str) -> None:
    write_request(tmp_path, some_hu(), AFFINE)
    (tmp_path / "ct.json").write_text(text)
    with pytest.raises(ValueError, match=r"4 x 4|JSON object"):
        read_request(tmp_path)


@looped(
    "array",
    [some_hu().astype(np.float32), some_hu()[0], np.array({"a": 1}, dtype=object)],
)
def test_what_is_no_ct_is_refused(tmp_path: Path, array: NDArray[np.generic]) -> None:
    write_request(tmp_path, some_hu(), AFFINE)
    np.save(tmp_path / "ct.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=r"ct\.npy is"):
        read_request(tmp_path)


def test_labels_of_another_ct_are_refused(tmp_path: Path) -> None:
    write_answer(tmp_path, some_answer())
    with pytest.raises(ValueError, match="has shape"):
        read_answer(tmp_path, (5, 9, 7))


def test_probabilities_of_another_ct_are_refused(tmp_path: Path) -> None:
    write_answer(tmp_path, some_answer())
    np.save(tmp_path / "probabilities.npy", np.zeros((3, 2, 2, 2), np.float16))
    with pytest.raises(ValueError, match=r"probabilities\.npy has shape"):
        read_answer(tmp_path, SHAPE)


def test_the_geometry_is_all_that_is_told_beside_the_voxels(tmp_path: Path) -> None:
    write_request(tmp_path, some_hu(), AFFINE)
    assert json.loads((tmp_path / "ct.json").read_text()).keys() == {"ijk_to_ras"}
