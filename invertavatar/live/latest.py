"""A place for one thing, the newest: who takes comes late rather than getting old things, and no queue builds."""

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Latest(Generic[Item]):
    """Hands the newest item from one thread to another; what was not taken in time is dropped.

    Attributes:
        dropped: Items that nobody took.
    """

    def __init__(self):
        self.dropped = 0
        self._changed = threading.Condition()
        self._items: list[Item] = []
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: Item) -> None:
        """Leave an item, in the place of an older one."""
        with self._changed:
            self.dropped += len(self._items)
            self._items = [item]
            self._changed.notify()

    def take(self, timeout: float | None = None) -> Item | None:
        """The newest item, waited for; None after `timeout` seconds, or when there will be none any more.

        Raises:
            BaseException: What `close` was told went wrong.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout)
            if self._items:
                return self._items.pop()
            if self._error is not None:
                raise self._error
            return None

    @property
    def closed(self) -> bool:
        """Whether nothing comes any more."""
        return self._closed and not self._items

    def close(self, error: BaseException | None = None) -> None:
        """Say that nothing comes any more, and what went wrong if something did."""
        with self._changed:
            self._closed, self._error = True, self._error or error
            self._changed.notify_all()
