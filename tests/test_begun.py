"""An unfinished run is found again, whatever it is called and wherever its data are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Command, small_run
from test_data import tree

from prsgd.config.build import build_run
from prsgd.config.naming import run_name, run_name_of_version_1
from prsgd.errors import UserError
from prsgd.launch.planning import plan_runs, refuse_begun, refuse_changed
from prsgd.measures import OF_IMAGES
from prsgd.run_folder import RunFolder

KEYS = ["model=mlp", "device=cpu", "workers=2", "interval=2", "batch_size=4", "epochs=1"]
MORE = ["threads=1", "processes=1", "data.size=8"]


def begun(folder: Path, status: str = "interrupted", **values: Any) -> RunFolder:
    record = RunFolder(folder)
    record.create(small_run(**values).as_dict(), OF_IMAGES)
    record.set_status(status)
    return record


def of_version_1(record: RunFolder, **environment: str) -> RunFolder:
    """The same record as version 0.1 wrote it."""
    path = record.path / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config = {k: v for k, v in config.items() if k not in ("tables", "remainder")} | {"version": 1}
    path.write_text(yaml.safe_dump(config))
    record.write_environment(environment)
    return RunFolder(record.path)


def test_a_run_that_version_0_1_began_is_not_begun_anew(tmp_path: Path) -> None:
    run = small_run(out=str(tmp_path))
    name = run_name_of_version_1(run, "fp32")
    of_version_1(begun(tmp_path / name))
    with pytest.raises(UserError) as refusal:
        plan_runs([(run, None)], alone=True)
    assert str(refusal.value) == (
        f"{tmp_path}/{name} is this run, begun by version 0.1 and not finished: go on by "
        f"`prsgd run {tmp_path}/{name}`, or choose another out to begin anew"
    )
    RunFolder(tmp_path / name).set_status("done")
    [planned] = plan_runs([(run, None)], alone=True)
    assert planned.folder.path.name == run_name(run, "fp32", run.data.fingerprint())


def test_a_record_of_version_1_goes_on_with_what_it_knows_of_its_data(tmp_path: Path) -> None:
    run = small_run()
    name = run_name_of_version_1(run, "fp32")
    known = run.data.fingerprint_of_version_1()
    record = of_version_1(begun(tmp_path / name), data_fingerprint=known)
    again = build_run(record.config())
    assert again.remainder == "drop"
    refuse_changed(record, again)
    other = of_version_1(record, data_fingerprint="0123456789abcdef")
    with pytest.raises(UserError, match="the data have changed since it was started"):
        refuse_changed(other, again)
    newer = begun(tmp_path / "newer")
    newer.write_environment({"data_fingerprint": known})
    with pytest.raises(UserError, match="the data have changed since it was started"):
        refuse_changed(newer, small_run())


@pytest.mark.parametrize(("here", "there"), [("fp32", "bf16"), ("bf16", "fp32")])
def test_a_run_that_another_kind_of_machine_began_is_found(
    tmp_path: Path, here: str, there: str
) -> None:
    """`precision=auto` came to something else there."""
    run = small_run(precision=here)
    theirs = run_name(run, there, run.data.fingerprint())
    begun(tmp_path / theirs, precision=there)
    own = RunFolder(tmp_path / run_name(run, here, run.data.fingerprint()))
    with pytest.raises(UserError) as refusal:
        refuse_begun(own, small_run(precision="auto"), run)
    assert str(refusal.value) == (
        f"{tmp_path}/{theirs} is this run, begun with precision={there} and not finished: go on by "
        f"`prsgd run {tmp_path}/{theirs}`, or choose another out to begin anew"
    )
    refuse_begun(own, run, run)  # who says which precision means that one
    begun(own.path, precision=here)
    refuse_begun(own, small_run(precision="auto"), run)
    shutil.rmtree(own.path)
    RunFolder(tmp_path / theirs).set_status("done")
    refuse_begun(own, small_run(precision="auto"), run)


def test_a_changed_configuration_does_not_go_on(tmp_path: Path) -> None:
    run = small_run()
    record = begun(tmp_path / run_name(run, "fp32", run.data.fingerprint()))
    refuse_changed(record, run)
    refuse_changed(record, small_run(timeout=5.0))
    with pytest.raises(UserError) as refusal:
        refuse_changed(record, small_run(lr=0.06))
    assert str(refusal.value) == (
        f"{record.path}/config.yaml has other keys than the run began with, as its name shows; "
        "restore them, or begin a run with these by prsgd train"
    )
    refuse_changed(begun(tmp_path / "a-name-of-ones-own"), small_run(lr=0.06))


def test_a_name_that_no_folder_can_have() -> None:
    with pytest.raises(UserError) as refusal:
        run_name(small_run(seed=10**260), "fp32", "")
    assert str(refusal.value).endswith(
        "the run's name has 283 bytes, and a folder's can have at most 255; it must have a shorter "
        "algorithm's name or a smaller seed"
    )


def test_the_record_says_where_the_data_are(tmp_path: Path, prsgd: Command) -> None:
    """So that the run goes on from anywhere, and from another place with the same content."""
    tree(tmp_path / "data", train=8)
    done = prsgd("train", "data=image_folder", "data.root=data", *KEYS, *MORE)
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "runs").iterdir()
    assert RunFolder(folder).config()["data"]["root"] == str(tmp_path / "data")
    metrics = (folder / "metrics.csv").read_text()
    RunFolder(folder).set_status("interrupted")
    (tmp_path / "elsewhere").mkdir()
    again = prsgd("run", str(folder), cwd=tmp_path / "elsewhere")
    assert again.returncode == 0, again.stderr
    (tmp_path / "data").rename(tmp_path / "moved")
    RunFolder(folder).set_status("interrupted")
    lost = prsgd("run", str(folder))
    assert (lost.returncode, lost.stderr.count("\n")) == (2, 1)
    assert f"data.root={tmp_path}/data: there is no such folder" in lost.stderr
    moved = prsgd("run", str(folder), "data.root=moved")
    assert moved.returncode == 0, moved.stderr
    assert (folder / "metrics.csv").read_text() == metrics
    RunFolder(folder).set_status("interrupted")
    shutil.copy(tmp_path / "moved/train/ant/0.png", tmp_path / "moved/train/ant/1.png")
    other = prsgd("run", str(folder), "data.root=moved")
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "the data have changed since it was started" in other.stderr


def test_other_keys_do_not_fit_a_run_folder(tmp_path: Path, prsgd: Command) -> None:
    begun(tmp_path / "run")
    for argument in ("lr=3", "data.root=", "plugins=mine"):
        refused = prsgd("run", "run", argument)
        assert refused.returncode == 2
        assert refused.stderr == (
            f"prsgd: {argument}: the run folder has its keys; only plugins=[...], data.root=... "
            "and start=... fit\n"
        )


def test_an_epoch_counts_images(prsgd: Command, tmp_path: Path) -> None:
    """160 images, N = 3, b = 7: what is dropped is not drawn, and no epoch either."""
    for remainder, steps in (("carry", 15), ("drop", 14)):
        run = small_run(workers=3, batch_size=7, epochs=2, remainder=remainder)
        assert run.steps(160) == steps
    done = prsgd(
        "train", "data=synthetic", "data.train=160", "model=mlp", "workers=3", "batch_size=7",
        "epochs=2", "remainder=drop", "device=cpu", "processes=1", "threads=1", "data.size=8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "runs").iterdir()
    rows = (folder / "metrics.csv").read_text().splitlines()[1:]
    found = [(int(row.split(",")[0]), float(row.split(",")[1])) for row in rows]
    assert found == [(0, 0.0), (8, 8 * 21 / 160), (14, 14 * 21 / 160)]
