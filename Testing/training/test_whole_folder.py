"""A folder of results is there whole or not at all, and nothing of the user's goes with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.whole_folder import whole_folder

MARK = "summary.json"


def write(target: Path, text: str, *, overwrite: bool = False) -> None:
    with whole_folder(target, mark=MARK, overwrite=overwrite) as part:
        (part / MARK).write_text(text)


def write_half(target: Path, *, overwrite: bool = False) -> None:
    with whole_folder(target, mark=MARK, overwrite=overwrite) as part:
        (part / MARK).write_text("half")
        raise RuntimeError


def test_appears_with_its_parents(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    write(target, "1")
    assert (target / MARK).read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with pytest.raises(RuntimeError):
        write_half(target)
    assert list(tmp_path.iterdir()) == []


def test_earlier_results_stay_unless_asked(tmp_path: Path) -> None:
    target = tmp_path / "scores"
    write(target, "1")
    with pytest.raises(ValueError, match="--overwrite"):
        write(target, "2")
    assert (target / MARK).read_text() == "1"
    write(target, "2", overwrite=True)
    assert (target / MARK).read_text() == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["scores"]


def test_a_failed_replacement_keeps_the_earlier_results(tmp_path: Path) -> None:
    target = tmp_path / "scores"
    write(target, "1")
    with pytest.raises(RuntimeError):
        write_half(target, overwrite=True)
    assert (target / MARK).read_text() == "1"


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_are_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "chapter.txt").write_text("mine")
    with pytest.raises(ValueError, match="other files"):
        write(target, "1", overwrite=overwrite)
    assert (target / "chapter.txt").read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    target = tmp_path / "scores"
    target.mkdir()
    write(target, "1")
    assert (target / MARK).read_text() == "1"


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "scores").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        write(tmp_path / "scores", "1")


def test_results_that_came_meanwhile_stay(tmp_path: Path) -> None:
    target = tmp_path / "scores"
    with (
        pytest.raises(ValueError, match="--overwrite"),
        whole_folder(target, mark=MARK, overwrite=False),
    ):
        write(target, "theirs")
    assert (target / MARK).read_text() == "theirs"
