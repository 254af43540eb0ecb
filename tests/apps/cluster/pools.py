"""A pool that runs each task in this process, when somebody waits for it."""

import contextlib


class HerePool:
    """Runs tasks one after the other, the one that was submitted first, and counts them."""

    def __init__(self, slots=2):
        self.slots, self.most, self._calls, self._results, self._next = slots, 0, {}, {}, 0

    def submit(self, function, *arguments):
        self._next += 1
        self._calls[self._next] = (function, arguments)
        self.most = max(self.most, len(self._calls))
        return self._next

    def ended(self, tasks):
        task = min(tasks)
        self._results[task] = self._calls.pop(task)
        return [task]

    def result(self, task):
        function, arguments = self._results.pop(task)
        return function(*arguments)


@contextlib.contextmanager
def here(*_, **__):
    """In place of `open_pool`."""
    yield HerePool()
