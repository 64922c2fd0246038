"""Share jobs out among worker processes. Results go through the journal, so order cannot matter."""

from __future__ import annotations

import multiprocessing
import os
import queue
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from fl.errors import InputError, NoAnswer

Tick = Callable[[int], None]
Job = Callable[[Tick], None]


def share_out(workers: int, jobs: Mapping[int, Job], tick: Tick) -> None:
    """Run every job once, on up to ``workers`` processes; one job or worker stays in this process.

    Workers are forked, so that prepared data is shared and imports are paid once.

    Raises:
        InputError: what a job raised; or a worker was killed or failed.
    """
    if workers == 1 or len(jobs) == 1 or not hasattr(os, "fork"):
        for job in jobs.values():
            _run(job, tick)
        return
    context = multiprocessing.get_context("fork")
    todo: Any = context.Queue()
    news: Any = context.Queue()
    count = min(workers, len(jobs))
    for key in [*jobs, *[None] * count]:
        todo.put(key)
    started = [context.Process(target=_worker, args=(jobs, todo, news)) for _ in range(count)]
    for process in started:
        process.start()
    try:
        _follow(started, news, tick)
    finally:
        for process in started:
            process.terminate()
            process.join()


def _run(job: Job, tick: Tick) -> None:
    """Nobody to train with is for the owner of the run to mend, whichever process finds it."""
    try:
        job(tick)
    except NoAnswer as error:
        raise InputError(
            "training",
            str(error),
            "lower training.learning_rate (reply.not-finite: it diverged), or set "
            "runtime.debug=true to see why brands fail",
        ) from error


def _worker(jobs: Mapping[int, Job], todo: Any, news: Any) -> None:
    while (key := todo.get()) is not None:
        try:
            _run(jobs[key], news.put)
        except KeyboardInterrupt:
            return
        except InputError as error:
            news.put((error.field, error.problem, error.remedy))
            return
        except Exception:
            sys.stderr.write(traceback.format_exc())
            news.put(("worker", f"the work on seed {key} failed", "read the traceback above"))
            return
    news.put(None)


def _follow(started: list[Any], news: Any, tick: Tick) -> None:
    running = len(started)
    while running:
        try:
            message = news.get(timeout=1.0)
        except queue.Empty:
            if any(p.exitcode not in (None, 0) for p in started):
                raise InputError("worker", "was killed", "take the run up with resume=") from None
            continue
        if message is None:
            running -= 1
        elif isinstance(message, int):
            tick(message)
        else:
            raise InputError(*message)
