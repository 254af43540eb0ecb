import numpy as np
import pytest

from apps.cluster.schedule import Job, as_time, critical_path, length, simulate
from apps.studies.benchmark.many import DURATIONS, jobs_of
from apps.studies.benchmark.plan import plan_steps, published_row
from apps.studies.benchmark.rows import ROWS
from apps.studies.benchmark.run import pick_rows
from common.files import write_json

pytestmark = pytest.mark.no_backend

# a -> c -> d, and b and e alone.
JOBS = [
    Job("a", 3.0),
    Job("b", 4.0),
    Job("c", 5.0, ("a",)),
    Job("d", 1.0, ("c", "b")),
    Job("e", 2.0, ("ended before",)),
]


def test_the_length_of_a_schedule_is_what_arithmetic_says():
    # One after the other; a c d beside b e; each of a, b, e on its own.
    assert [length(JOBS, workers) for workers in (1, 2, 3, 256)] == [15.0, 9.0, 9.0, 9.0]
    assert [job.name for job in critical_path(JOBS)] == ["a", "c", "d"]


def test_a_worker_runs_one_job_at_a_time_and_none_before_its_needs():
    for workers in (1, 2, 3):
        spans = simulate(JOBS, workers)
        assert sorted(span.job.name for span in spans) == list("abcde")
        ends = {span.job.name: span.end for span in spans}
        for span in spans:
            assert span.end - span.start == span.job.seconds
            assert all(ends.get(need, 0.0) <= span.start for need in span.job.needs)
            for other in spans:
                if other is not span and other.worker == span.worker:
                    assert other.end <= span.start or span.end <= other.start


def test_the_plan_of_the_benchmark_lies_between_its_bounds_for_any_number_of_workers(tmp_path):
    jobs = jobs_of(plan_steps(list(ROWS), tmp_path), tmp_path)
    work = sum(job.seconds for job in jobs)
    chain = sum(job.seconds for job in critical_path(jobs))
    np.testing.assert_allclose(length(jobs, 1), work)
    for workers in (2, 3, 8, 64, 256):
        # Graham (1969): no more than the work divided, and the chain.
        bound = max(work / workers, chain)
        assert bound - 1e-6 <= length(jobs, workers) <= work / workers + chain + 1e-6


def test_a_training_waits_for_the_runs_that_it_reads_and_scores_wait_for_it(tmp_path):
    steps = plan_steps(pick_rows("translation gru_ensemble gru_after_tatoeba"), tmp_path)
    needs = {job.name: job.needs for job in jobs_of(steps, tmp_path)}
    join = "translation gru_ensemble-s1 join"
    assert needs[join] == tuple(f"translation gru-s{seed} train" for seed in (1, 2, 3))
    assert needs["translation gru_ensemble-s1 evaluate test"] == (join,)
    assert needs["translation gru_after_tatoeba-s1 train"] == ("translation tatoeba_gru-s1 train",)


def test_a_job_takes_as_long_as_it_took_here_or_as_was_published(tmp_path):
    (row,) = pick_rows("forecasting quantiles")
    steps = plan_steps([row], tmp_path)
    train, score = jobs_of(steps, tmp_path)
    assert train.seconds == published_row(row)["seconds"][0]
    write_json(tmp_path / DURATIONS, {train.name: 7.0, "forecasting lstm-s1 evaluate test": 11.0})
    train, score = jobs_of(steps, tmp_path)
    assert (train.seconds, score.seconds) == (7.0, 11.0)


def test_times_are_written_as_people_read_them():
    assert [as_time(seconds) for seconds in (40, 420, 11220)] == ["40 s", "7 min", "3:07 h"]
