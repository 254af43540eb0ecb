"""When each of many jobs would run, from how long each takes: arithmetic, nothing is started."""

import collections
import dataclasses
import heapq
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Job:
    """One command, and what must have ended before it."""

    name: str
    seconds: float
    """That it takes, as far as is known."""
    needs: tuple[str, ...] = ()
    """Names of jobs, which stand before it in a list; a name that is not in the list has ended."""


@dataclasses.dataclass(frozen=True)
class Span:
    """When a job runs, in seconds from the start of the first."""

    job: Job
    worker: int
    start: float
    end: float


def followers(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """Returns the jobs that wait for each one, by its name."""
    waiting: dict[str, list[Job]] = collections.defaultdict(list)
    for job in jobs:
        for need in job.needs:
            waiting[need].append(job)
    return waiting


def urgencies(jobs: Sequence[Job]) -> dict[str, float]:
    """Returns, by name, the seconds from the start of a job to the end of all that wait for it.

    Of the jobs that may begin, the one with the longest such chain begins first.
    """
    waiting, urgent = followers(jobs), {}
    for job in reversed(jobs):
        chains = [urgent[follower.name] for follower in waiting[job.name]]
        urgent[job.name] = job.seconds + max(chains, default=0.0)
    return urgent


def critical_path(jobs: Sequence[Job]) -> list[Job]:
    """Returns the chain of jobs that takes longest: no number of workers is faster."""
    urgent, waiting = urgencies(jobs), followers(jobs)
    path, choice = [], list(jobs)
    while choice:
        path.append(max(choice, key=lambda job: urgent[job.name]))
        choice = waiting[path[-1].name]
    return path


def simulate(jobs: Sequence[Job], workers: int) -> list[Span]:
    """Returns when each job runs and on which worker, by their starts.

    A worker that is free takes the most urgent job whose needs have ended, as `run_jobs` does.

    Args:
        jobs: Each after those that it needs.
        workers: Jobs that run at once.
    """
    names = {job.name for job in jobs}
    missing = {job.name: len(names & set(job.needs)) for job in jobs}
    urgent, waiting = urgencies(jobs), followers(jobs)
    order = {job.name: place for place, job in enumerate(jobs)}

    def entry(job: Job) -> tuple[float, int, Job]:
        return -urgent[job.name], order[job.name], job

    ready = [entry(job) for job in jobs if not missing[job.name]]
    heapq.heapify(ready)
    free, running, spans, now = list(range(workers)), [], [], 0.0
    while ready or running:
        while ready and free:
            job = heapq.heappop(ready)[2]
            span = Span(job, heapq.heappop(free), now, now + job.seconds)
            spans.append(span)
            heapq.heappush(running, (span.end, order[job.name], span))
        now, _, span = heapq.heappop(running)
        heapq.heappush(free, span.worker)
        for follower in waiting[span.job.name]:
            missing[follower.name] -= 1
            if not missing[follower.name]:
                heapq.heappush(ready, entry(follower))
    return spans


def length(jobs: Sequence[Job], workers: int) -> float:
    """Returns the seconds from the first start to the last end."""
    return max((span.end for span in simulate(jobs, workers)), default=0.0)


def as_time(seconds: float) -> str:
    """Returns a time such as `40 s`, `7 min` or `3:07 h`."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"
