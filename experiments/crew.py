"""Worker processes that stay: blocks of brands are computed by whoever is free.

They are forked once, when there is work for more than one, so imports are paid and data is shared.
What they compute comes back through memory that both sides see. Which of them computes what cannot
matter: a block's result depends on the block alone.
"""

from __future__ import annotations

import multiprocessing
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from mmap import mmap
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import torch
from torch import Tensor

from fl.errors import InputError

Work = TypeVar("Work")
Computed = tuple[list[Tensor], list[int]]
_ROOM = 1 << 23  # bytes of a worker's results that travel through shared memory


@dataclass(frozen=True, slots=True)
class _Worker:
    process: Any
    line: Connection
    room: mmap


@dataclass
class Crew:
    """Up to ``size`` processes for one function; in this process where there is one piece of work.

    Attributes:
        size: >= 1.
    """

    size: int
    _by_function: dict[Callable[[Any], Computed], list[_Worker]] = field(default_factory=dict)

    def __call__(
        self, function: Callable[[Work], Computed], work: Sequence[Work]
    ) -> list[Computed | Exception]:
        """What ``function`` makes of each piece of work, or what it raised; the longest come first.

        Raises:
            InputError: a worker was killed.
        """
        if self.size == 1 or len(work) < 2:
            return [_tried(function, piece) for piece in work]
        workers = self._by_function.get(function) or self._hired(function)
        try:
            return _shared_out(workers, work)
        except BaseException:  # an answer that is still under way would be taken for the next one's
            del self._by_function[function]
            _dismiss(workers, at_once=True)
            raise

    def _hired(self, function: Callable[[Any], Computed]) -> list[_Worker]:
        context = multiprocessing.get_context("fork")
        workers: list[_Worker] = []
        for _ in range(self.size):
            here, there = context.Pipe()
            room = mmap(-1, _ROOM)
            others = [*(worker.line for worker in workers), here]
            arguments = (function, there, room, others)
            process = context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            there.close()
            workers.append(_Worker(process, here, room))
        self._by_function[function] = workers
        weakref.finalize(self, _dismiss, workers)
        return workers


def _shared_out(workers: Sequence[_Worker], work: Sequence[Any]) -> list[Computed | Exception]:
    """Each piece to whoever is free; results in the order of the work."""
    done: dict[int, Computed | Exception] = {}
    busy: dict[Connection, tuple[int, _Worker]] = {}
    waiting = list(enumerate(work))[::-1]
    for worker in workers:
        _give(worker, waiting, busy)
    while busy:
        for ready in wait(list(busy)):
            place, worker = next(found for line, found in busy.items() if line is ready)
            del busy[worker.line]
            done[place] = _taken(worker)
            _give(worker, waiting, busy)
    return [done[place] for place in range(len(work))]


def _give(worker: _Worker, waiting: list[Any], busy: dict[Connection, Any]) -> None:
    """The next piece of work, if there is one left."""
    if waiting:
        place, piece = waiting.pop()
        try:
            worker.line.send(piece)
        except OSError as error:
            raise _killed(worker) from error
        busy[worker.line] = (place, worker)


def _killed(worker: _Worker) -> InputError:
    return InputError(
        f"worker {worker.process.pid}",
        "was killed, perhaps for want of memory",
        "take the run up with resume=, with fewer runtime.workers if memory was short",
    )


def _taken(worker: _Worker) -> Computed | Exception:
    """A worker's result, copied out of the shared memory."""
    try:
        answer = worker.line.recv()
    except (EOFError, OSError) as error:
        raise _killed(worker) from error
    if isinstance(answer, Exception):
        return answer
    parts, counts = answer
    return [_read(worker.room, part) for part in parts], counts


def _read(room: mmap, part: Any) -> Tensor:
    if isinstance(part, Tensor):
        return part
    start, shape = part
    flat = torch.frombuffer(room, dtype=torch.float32, offset=start, count=max(1, shape.numel()))
    return flat[: shape.numel()].view(shape).clone()


def _serve(
    function: Callable[[Any], Computed], line: Connection, room: mmap, others: list[Connection]
) -> None:
    """A worker's life: until there is no more work, or nobody to give any.

    Args:
        others: ends of the parent that came along with the fork; as long as one is open, its end
            cannot be seen.
    """
    torch.set_num_threads(1)
    for other in others:
        other.close()
    try:
        while (piece := line.recv()) is not None:
            answer = _tried(function, piece)
            line.send(answer if isinstance(answer, Exception) else _placed(room, answer))
    except (KeyboardInterrupt, EOFError, OSError):  # nobody is at the other end
        return


def _placed(room: mmap, computed: Computed) -> tuple[list[Any], list[int]]:
    """Where each part lies in the shared memory; a part that does not fit travels by itself."""
    placed: list[Any] = []
    start = 0
    for part in computed[0]:
        size = 4 * part.numel()
        if part.dtype != torch.float32 or start + max(4, size) > len(room):
            placed.append(part.clone())
            continue
        if size:
            flat = torch.frombuffer(room, dtype=torch.float32, offset=start, count=part.numel())
            flat.copy_(part.reshape(-1))
        placed.append((start, part.shape))
        start += size
    return placed, computed[1]


def _tried(function: Callable[[Any], Computed], piece: Any) -> Computed | Exception:
    try:
        return function(piece)
    except Exception as error:
        return error


def _dismiss(workers: list[_Worker], at_once: bool = False) -> None:
    for worker in workers:
        if worker.process.is_alive():
            try:
                worker.line.send(None)
            except OSError:
                worker.process.terminate()
            if at_once:
                worker.process.terminate()
        worker.line.close()
    for worker in workers:
        worker.process.join(timeout=2.0)
        if worker.process.is_alive():
            worker.process.terminate()
