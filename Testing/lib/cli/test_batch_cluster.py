"""A batch on many machines: on a real Ray cluster whose parts are killed, and as parts of an array.

Which worker is in the midst of a case, the hidden folder tells that it writes to: its name holds
the process.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import (
    PACKAGE_FOLDER,
    PICTURE,
    RESULTS,
    dot,
    rows_of,
    run,
    save_ct,
    save_model,
    some_hu,
    start,
    tree,
)

CASES = 4
LIKE_A_RUN = ("--device", "cpu", "--no-coarse-search")
PART = re.compile(r"\.livertumorseg-[0-9a-f]{8}-(\d+)-[0-9a-f]{8}\.part")
OBJECT_STORE_BYTES = 80 * 2**20  # the least that Ray takes is a little below
PATIENCE_SECONDS = 400


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, bytes]]:
    """CTs, a model, and the labels that a batch one after the other makes of them."""
    from LiverTumorSegLib.cli.main import main

    home = tmp_path_factory.mktemp("cluster")
    (home / "cts").mkdir()
    for n in range(CASES):
        hu = some_hu((40, 36, 6 + n))
        hu[10 + n, 12, 3] = 90
        save_ct(home / "cts" / f"c{n}.nii.gz", hu)
    model = save_model(home / "tiny.safetensors")
    words = ["batch", home / "cts", home / "one", "--model", model, *LIKE_A_RUN]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PICTURE, dot)
        assert main([str(word) for word in words]) == 0
    return home / "cts", model, labels_in(home / "one")


def labels_in(out: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in out.glob("*/seg.nii.gz")}


def whole(out: Path) -> None:
    """Every case is there with every file, and nothing else."""
    names = {path.name for path in out.iterdir()}
    folders = {f"c{n}" for n in range(CASES)}
    assert folders <= names
    assert not [name for name in names if name.startswith(".")]
    for folder in folders:
        assert {path.name for path in (out / folder).iterdir()} == {*RESULTS, "batch.json"}


@pytest.mark.usefixtures("no_picture")
def test_parts_of_an_array_make_what_one_batch_makes(
    material: tuple[Path, Path, dict[str, bytes]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cts, model, labels = material
    out = tmp_path / "out"
    command = ("batch", cts, out, "--model", model, *LIKE_A_RUN)
    made: list[set[str]] = []
    for part in ("1/3", "2/3", "3/3"):
        before = set(labels_in(out)) if out.exists() else set()
        done = run(capsys, *command, "--array", part)
        assert done.code == 0
        assert "without --array writes the tables" in done.out
        made.append(set(labels_in(out)) - before)
    assert made == [{"c0", "c3"}, {"c1"}, {"c2"}]
    assert not (out / "summary.csv").exists()
    assert run(capsys, *command).code == 0
    assert [row["status"] for row in rows_of(out)] == ["skipped"] * CASES
    assert labels_in(out) == labels
    whole(out)


def test_what_cannot_be_shared_out_is_one_sentence(
    material: tuple[Path, Path, dict[str, bytes]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cts, model, _ = material
    monkeypatch.setitem(sys.modules, "ray", None)
    for words, sentence in (
        (("--array", "0/4"), "is no part of an array"),
        (("--array", "5/4"), "is no part of an array"),
        (("--array", "two"), "is no part of an array"),
        (("--array", "1/2", "--ray"), "use one of them"),
        (("--ray",), "livertumorseg[cluster]"),
        (("--cpus-per-case", "0"), "cpus_per_case"),
    ):
        outcome = run(capsys, "batch", cts, tmp_path / "out", "--model", model, *words)
        assert outcome.code == 2
        assert sentence in outcome.err.splitlines()[-1]
        assert tree(tmp_path) == {}


def test_a_ray_that_does_not_start_or_answer_is_one_sentence_and_leaves_no_result(
    material: tuple[Path, Path, dict[str, bytes]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = pytest.importorskip("ray", reason="Ray, of the extra [cluster], is missing")
    cts, model, _ = material
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", init)
    out = tmp_path / "out"
    for words, sentence in (
        (("--ray",), "could not start on this machine in its time"),
        (("--ray", "10.0.0.1:6379"), "No Ray cluster answers there"),
    ):
        outcome = run(capsys, "batch", cts, out, "--model", model, *words)
        assert outcome.code == 2
        assert sentence in outcome.err.splitlines()[-1]
        assert not list(out.rglob("seg.nii.gz"))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster of two machines with a processor each, played by processes of this one."""
    pytest.importorskip("ray", reason="Ray, of the extra [cluster], is missing")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(PACKAGE_FOLDER))
    for name, value in (
        ("RAY_USAGE_STATS_ENABLED", "0"),
        ("RAY_gcs_rpc_server_reconnect_timeout_s", "5"),
        ("RAY_health_check_failure_threshold", "3"),
        ("RAY_health_check_period_ms", "500"),
    ):
        monkeypatch.setenv(name, value)
    machine = {"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES}
    made = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
    made.add_node(**machine)
    yield made
    made.shutdown()


def until(is_so: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """What it gives as soon as it gives something; fails when the batch ends before."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if found := is_so():
            return found
        if process.poll() is not None:
            pytest.fail(f"the batch ended too early: {process.communicate()}")
        time.sleep(0.02)
    pytest.fail("it took too long")


def busy_workers(out: Path) -> list[int]:
    """Processes in the midst of a case."""
    names = os.listdir(out) if out.exists() else []
    return [int(match[1]) for match in map(PART.fullmatch, names) if match]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_worker_and_a_machine_are_lost_and_every_case_is_done_once(
    material: tuple[Path, Path, dict[str, bytes]], cluster: Any, tmp_path: Path
) -> None:
    cts, model, labels = material
    out = tmp_path / "out"
    command = ("batch", cts, out, "--model", model, *LIKE_A_RUN, "--ray", cluster.address)
    with start(*command, "--events") as driver:
        os.kill(until(lambda: busy_workers(out), driver)[0], signal.SIGKILL)
        until(lambda: labels_in(out) if out.exists() else None, driver)
        until(lambda: busy_workers(out), driver)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        text, errors = driver.communicate(timeout=PATIENCE_SECONDS)
    strangers = [line for line in text.splitlines() if not line.startswith('{"event"')]
    assert strangers == [], strangers
    events = [json.loads(line) for line in text.splitlines()]
    assert (driver.returncode, errors) == (0, ""), events[-1]
    ended = [event["number"] for event in events if event["event"] == "case"]
    assert sorted(ended) == list(range(1, CASES + 1))
    assert {row["status"] for row in rows_of(out)} <= {"done", "skipped"}
    assert labels_in(out) == labels
    whole(out)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_stopped_driver_and_a_lost_head_leave_whole_cases_and_the_next_run_finishes(
    material: tuple[Path, Path, dict[str, bytes]],
    cluster: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cts, model, labels = material
    out = tmp_path / "out"
    command = ("batch", cts, out, "--model", model, *LIKE_A_RUN)
    on_ray = (*command, "--ray", cluster.address)
    with start(*on_ray) as driver:
        until(lambda: busy_workers(out), driver)
        driver.terminate()
        _, errors = driver.communicate(timeout=PATIENCE_SECONDS)
    assert driver.returncode == 130
    assert errors.splitlines()[-1].startswith("Cancelled; finished cases stay")
    with start(*on_ray) as driver:
        until(lambda: labels_in(out), driver)
        until(lambda: busy_workers(out), driver)
        cluster.head_node.kill_gcs_server(check_alive=False)
        try:
            driver.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            driver.kill()
    assert driver.returncode != 0
    cluster.shutdown()
    before = labels_in(out)
    assert before.items() <= labels.items()
    assert run(capsys, *command).code == 0
    assert [row["status"] for row in rows_of(out)].count("skipped") == len(before)
    assert labels_in(out) == labels
    whole(out)
