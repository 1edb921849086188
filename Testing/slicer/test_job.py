"""Runs that go well, with a child that does as it is told; their log; and Slicer's own end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runner import SHAPE, Desk, FakeRunner, someLabels, someRequest
from LiverTumorSegLib.cli.exchange import read_request
from LiverTumorSegSlicer.run import job as job_module
from LiverTumorSegSlicer.run.job import SegmentationJob
from looped import looped


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_the_labels_come_back_and_nothing_stays(desk: Desk) -> None:
    child = desk.start()
    child.begin()
    child.answer(liver_volume_ml=1500.0)
    child.exit()
    result = desk.result()
    np.testing.assert_array_equal(result.labelsKji, someLabels())
    assert result.record == {"notice": "for research", "liver_volume_ml": 1500.0}
    assert result.probabilities is None


def test_the_child_finds_the_ct_in_a_folder_of_this_user_alone(desk: Desk) -> None:
    child = desk.start()
    ct = read_request(child.folder)
    np.testing.assert_array_equal(ct.hu, someRequest().huKji)
    np.testing.assert_array_equal(ct.ijk_to_ras, someRequest().ijkToRas)
    assert child.folder.parent == desk.temporaryFolder
    if os.name == "posix":
        assert child.folder.stat().st_mode & 0o777 == 0o700
    desk.job.cleanUp()


@looped(
    ("values", "wanted", "unwanted"),
    [
        (
            {},
            "--with-parent",
            ["--model", "--device", "--no-coarse-search", "--probabilities", "--smallest"],
        ),
        ({"model": "mine", "device": "cuda:1"}, "--model mine --device cuda:1", []),
        ({"coarse_search": False, "probabilities": True}, "--no-coarse-search --probabilities", []),
        ({"smallest_lesion_mm": 7.5}, "--smallest-lesion-mm 7.5", []),
        ({"smallest_lesion_mm": 0}, "--smallest-lesion-mm 0", []),
    ],
)
def test_the_command_line_says_what_was_asked(
    tmp_path: Path, values: dict[str, Any], wanted: str, unwanted: list[str]
) -> None:
    desk = Desk(tmp_path, **values)
    command = " ".join(desk.start().arguments)
    assert command.startswith("-m LiverTumorSegLib segment --raw ")
    assert " --events --with-parent" in command
    assert command.endswith(wanted)
    assert not any(option in command for option in unwanted)
    desk.job.cleanUp()


def test_a_model_name_that_looks_like_an_option_is_one_argument(tmp_path: Path) -> None:
    desk = Desk(tmp_path, model="my model; rm -rf")
    assert "my model; rm -rf" in desk.start().arguments
    desk.job.cleanUp()


def test_progress_is_told_as_it_comes(desk: Desk) -> None:
    child = desk.start()
    child.begin()
    child.say("progress", fraction=0.25, phrase="Slice 5 of about 20", seconds_left=12.5)
    child.say("progress", fraction=0.5, phrase="Slice 10 of about 20", seconds_left=None)
    assert desk.progress[-2:] == [
        (0.25, "Slice 5 of about 20", 12.5),
        (0.5, "Slice 10 of about 20", None),
    ]
    child.answer()
    child.exit()
    desk.result()
    fractions = [fraction for fraction, _, _ in desk.progress]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


@looped("fraction", [-1, 2, "much", None, float("nan")])
def test_progress_that_is_no_share_is_not_shown(tmp_path: Path, fraction: Any) -> None:
    desk = Desk(tmp_path)
    child = desk.start()
    told = len(desk.progress)
    child.say("progress", fraction=fraction, phrase="?", seconds_left=None)
    assert len(desk.progress) == told
    desk.job.cleanUp()


def test_probabilities_come_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path, probabilities=True)
    child = desk.start()
    share = np.random.default_rng(2).random((3, *SHAPE)).astype(np.float16)
    np.save(child.folder / "probabilities.npy", share)
    kept = (child.folder / "probabilities.npy").read_bytes()
    child.answer()  # which, without any of its own, removes an earlier run's
    (child.folder / "probabilities.npy").write_bytes(kept)
    child.exit()
    np.testing.assert_array_equal(desk.result().probabilities, share)


def test_noise_between_the_events_is_kept_for_the_log(desk: Desk) -> None:
    child = desk.start()
    child.begin()
    child.print("libpng warning: something")
    child.print("{not json")
    child.print('{"other": "json"}')
    child.print("[1, 2]")
    child.print('{"event": "progress", "fraction": 0.5')
    child.complain("UserWarning: a library speaks")
    child.print('loading... {"event": "progress", "fraction": 0.4, "phrase": "after a dot"} ok')
    child.answer()
    child.exit()
    log = desk.result().log
    for words in ("libpng", "{not json", "[1, 2]", "a library speaks"):
        assert words in log
    assert (0.4, "after a dot", None) in desk.progress


def test_the_log_of_a_good_run_tells_each_kind_of_step_once_and_what_made_the_result(
    desk: Desk,
) -> None:
    child = desk.start()
    key = "Slice {n} of {count}"
    for n in (1, 2, 3):
        said = {"key": key, "values": {"n": n, "count": 3}}
        child.say("progress", fraction=n / 4, phrase=f"Slice {n} of 3", said=said)
    child.say("progress", fraction=0.9, phrase="Checking and measuring")
    model = {"model": "liver-tumor", "version": "1.1"}
    child.answer(model=model, run={"device": "cuda:0", "seconds": 3.0})
    child.exit()
    lines = desk.result().log.splitlines()
    steps = [line.partition(" s: ") for line in lines if " s: " in line]
    assert [phrase for _seconds, _s, phrase in steps] == [
        "Handing over the CT",
        "Starting",
        "Slice 1 of 3",
        "Checking and measuring",
        "Fetching the labels",
    ]
    seconds = [float(text) for text, _s, _phrase in steps]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0
    assert lines[-1] == "liver-tumor 1.1, cuda:0"


def test_a_warning_is_in_the_log(desk: Desk) -> None:
    child = desk.start()
    child.say("warning", text="GPU memory ran short: went on with 8 slices at a time.")
    child.answer()
    child.exit()
    assert "ran short" in desk.result().log


def test_a_fall_after_the_result_costs_nothing(desk: Desk) -> None:
    """As CUDA's own clean-up does on some machines."""
    child = desk.start()
    child.answer()
    child.exit(11, crashed=True)
    np.testing.assert_array_equal(desk.result().labelsKji, someLabels())


def test_a_child_that_does_not_go_after_its_result_is_killed(desk: Desk) -> None:
    child = desk.start()
    child.answer()
    desk.clock.advance(2900)
    assert child.calls == []
    desk.clock.advance(200)
    assert child.calls == ["kill"]
    child.exit(9, crashed=True)
    np.testing.assert_array_equal(desk.result().labelsKji, someLabels())


def test_two_runs_in_a_row(tmp_path: Path) -> None:
    for fill in (1, 2):
        desk = Desk(tmp_path)
        child = desk.start()
        child.answer(np.full(SHAPE, fill, np.uint8))
        child.exit()
        assert (desk.result().labelsKji == fill).all()


def test_a_job_runs_once(desk: Desk) -> None:
    child = desk.start()
    with pytest.raises(RuntimeError, match="once"):
        desk.job.start()
    child.answer()
    child.exit()
    desk.result()
    with pytest.raises(RuntimeError, match="once"):
        desk.job.start()


def test_what_slicer_does_with_the_volume_meanwhile_does_not_matter(desk: Desk) -> None:
    """The child has its own copy, so the job keeps none."""
    child = desk.start()
    np.testing.assert_array_equal(read_request(child.folder).hu, someRequest().huKji)
    assert desk.job._request is None
    child.answer()
    child.exit()
    desk.result()


# --- the log -------------------------------------------------------------------------------------


def test_the_log_names_nobody(desk: Desk) -> None:
    child = desk.start()
    child.begin()
    child.complain(f'File "{Path.home()}/Slicer/torch/nn.py", line 3')
    child.complain(f"cannot read {child.folder}/ct.npy")
    child.exit(1)
    log = desk.failure().log
    assert str(Path.home()) + "/" not in log
    assert '"~/Slicer/torch/nn.py"' in log.replace("\\", "/")
    assert "<temporary folder>/ct.npy" in log
    assert str(desk.temporaryFolder) not in log


def test_the_log_keeps_the_last_words_only(desk: Desk) -> None:
    child = desk.start()
    for n in range(3000):
        child.complain(f"line {n}")
    child.exit(1)
    log = desk.failure().log.splitlines()
    assert (len(log), log[-1]) == (1000, "line 2999")


# --- Slicer ends ---------------------------------------------------------------------------------


def test_slicer_quits_during_a_run(desk: Desk) -> None:
    child = desk.start()
    child.begin()
    desk.job.cleanUp()
    assert child.calls == ["closeInput", "kill"]
    assert not list(desk.temporaryFolder.iterdir())
    child.exit(9, crashed=True)
    desk.clock.advance(10_000)
    assert desk.ends == [], "nobody is there to be told"
    assert not desk.job.isRunning
    desk.job.cleanUp()


def test_slicer_quits_while_the_ct_is_written(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(folder: Path, hu: Any, affine: Any, between: Any) -> None:
        while True:
            between()

    monkeypatch.setattr(job_module, "write_request", endless)
    desk.job.start()
    desk.job.cleanUp()
    desk.clock.advance(1000)
    assert (desk.ends, desk.runner.arguments) == ([], [])
    desk.assertNothingLeft()


def test_clean_up_after_a_good_end_is_nothing(desk: Desk) -> None:
    child = desk.start()
    child.answer()
    child.exit()
    desk.result()
    desk.job.cleanUp()
    assert child.calls == []


def test_a_number_that_is_no_childs_is_not_taken(desk: Desk) -> None:
    """Signal 15 to process 0 or -1 would end far more than the child."""
    child = desk.start()
    for pid in (0, 1, -1, True, "7", None, 3.5):
        child.print(json.dumps({"event": "started", "pid": pid}))
        assert child.childPid is None
    desk.job.cleanUp()


def test_the_default_clock_is_qts(tmp_path: Path) -> None:
    import qt

    child, loop, ends = FakeRunner(), qt.QEventLoop(), []

    def end(what: Any = "cancelled") -> None:
        ends.append(what)
        loop.quit()

    job = SegmentationJob(
        someRequest(),
        child,
        onProgress=lambda fraction, phrase, left: phrase == "Starting" and loop.quit(),
        onFinished=end,
        onFailed=end,
        onCancelled=end,
        temporaryFolder=tmp_path,
    )
    job.start()
    loop.exec_()
    child.answer()
    child.exit()
    loop.exec_()
    np.testing.assert_array_equal(ends[0].labelsKji, someLabels())
    job.cleanUp()
    assert not list(tmp_path.iterdir())
