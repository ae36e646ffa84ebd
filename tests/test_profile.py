"""profile=true: what it leaves, and that it changes nothing."""

import gzip
import json
from dataclasses import replace

import pandas as pd
from conftest import Command, Trainer, small_run, table

from prsgd.config.naming import run_name


def test_a_profile_says_where_the_time_went_and_changes_nothing(train_here: Trainer) -> None:
    run = small_run()
    _, plain = train_here(run, "plain")
    _, watched = train_here(replace(run, profile=True), "watched")
    pd.testing.assert_frame_equal(table(plain), table(watched))
    pd.testing.assert_frame_equal(table(plain, "rounds.csv"), table(watched, "rounds.csv"))
    text = (watched.path / "profile.txt").read_text()
    assert text.startswith("5 steps of the 2 workers that the first process hosts")
    trace = json.loads(gzip.decompress((watched.path / "trace.json.gz").read_bytes()))
    names = [event.get("name") for event in trace["traceEvents"]]
    # steps 5 to 9, of two workers, with one averaging at t = 8
    assert [names.count(f"prsgd: {part}") for part in ("compute_gradients", "draw")] == [5, 5]
    assert [names.count(f"prsgd: {part}") for part in ("optimizer_step", "mean")] == [5, 1]
    for part in ("compute_gradients", "draw", "optimizer_step"):
        assert f"prsgd: {part}" in text
    assert not (plain.path / "profile.txt").exists()


def test_a_finished_run_is_not_profiled(prsgd: Command) -> None:
    small = ["model=mlp", "data=synthetic", "data.train=256", "data.size=8", "epochs=1"]
    assert prsgd("train", *small).returncode == 0
    done = prsgd("train", *small, "profile=true")
    assert done.returncode == 0
    assert done.stdout.endswith(": skipped, and not profiled: choose another out\n")


def test_a_profiled_run_has_the_name_of_the_plain_one() -> None:
    run = small_run()
    assert run_name(run, "fp32", "data") == run_name(replace(run, profile=True), "fp32", "data")
