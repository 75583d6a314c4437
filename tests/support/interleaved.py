"""Writers in threads, one step at a time, in every order there is.

    def scene(stage: Stage) -> …:
        stage.run(lambda step: write(Stepped(objects, step)), lambda step: …)

    for stage in every_order(limit=5000):
        scene(stage)

A writer waits before each of its steps until the stage lets it go on, and only one runs at a time, so a run is a
function of its choices. ``every_order`` runs through all choices, depth first (stateless model checking). With
``deaths`` the first writer may also die (:class:`faults.Crash`) instead of taking a step.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from faults import Crash

from stores.objects import NewObject, Objects

Step = Callable[[], None]
Writer = Callable[[Step], None]


class _Turn:
    """A writer's thread, and whether it may go on."""

    def __init__(self, write: Writer) -> None:
        self.error: BaseException | None = None
        self.done = False
        self._dies = False
        self._go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(write,))
        self._thread.start()
        self._stands.acquire()

    def go(self, *, dies: bool = False) -> None:
        """Let the writer go on until it stands before its next step, or is done."""
        self._dies = dies
        self._go.release()
        self._stands.acquire()

    def _run(self, write: Writer) -> None:
        try:
            self._step()
            write(self._step)
        except BaseException as error:
            self.error = error
        finally:
            self.done = True
            self._stands.release()

    def _step(self) -> None:
        self._stands.release()
        self._go.acquire()
        if self._dies:
            raise Crash("the writer died")


class Stage:
    """One run. ``trace`` says who went when."""

    def __init__(self, choices: Sequence[int], *, deaths: bool, rng: random.Random | None = None) -> None:
        self.trace: list[str] = []
        self.choices = list(choices)
        self.options: list[int] = []
        self._deaths = deaths
        self._rng = rng

    def run(self, *writers: Writer) -> None:
        """Let the writers run to their ends; raise what one of them raised, unless it died."""
        turns = [_Turn(write) for write in writers]
        while alive := [at for at, turn in enumerate(turns) if not turn.done]:
            may_die = self._deaths and 0 in alive
            chosen = self._choose(len(alive) + may_die)
            dies = chosen == len(alive)
            at = 0 if dies else alive[chosen]
            self.trace.append(f"{'abc'[at]}{'†' if dies else ''}")
            turns[at].go(dies=dies)
        for turn in turns:
            if turn.error is not None and not isinstance(turn.error, Crash):
                raise turn.error

    def _choose(self, options: int) -> int:
        at = len(self.options)
        self.options.append(options)
        if at == len(self.choices):
            self.choices.append(self._rng.randrange(options) if self._rng is not None else 0)
        return self.choices[at]


def every_order(*, deaths: bool = False, limit: int = 100_000) -> Iterator[Stage]:
    """A stage for each order of steps.

    Raises:
        AssertionError: there are more than ``limit``.
    """
    choices: list[int] = []
    for _ in range(limit):
        stage = Stage(choices, deaths=deaths)
        yield stage
        choices = stage.choices
        while choices and choices[-1] == stage.options[len(choices) - 1] - 1:
            choices.pop()
        if not choices:
            return
        choices[-1] += 1
    raise AssertionError(f"more than {limit} orders")


def some_orders(seeds: Iterable[int], *, deaths: bool = False) -> Iterator[Stage]:
    """A stage with random choices for each seed."""
    return (Stage([], deaths=deaths, rng=random.Random(seed)) for seed in seeds)


class Stepped:
    """An object store in front of which a writer waits: before each object that it creates and, with ``reads``, before
    each look too. Nothing else of a store is used by a sink."""

    def __init__(self, inner: Objects, step: Step, *, reads: bool = False) -> None:
        self._inner, self._step, self._reads = inner, step, reads

    def create(self, objects: Sequence[NewObject]) -> None:
        for new in objects:
            self._step()
            self._inner.create([new])

    def __getattr__(self, name: str) -> Any:
        if self._reads:
            self._step()
        return getattr(self._inner, name)
