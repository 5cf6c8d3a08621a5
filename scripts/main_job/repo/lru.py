"""A cache of fixed capacity that forgets what was used least recently."""

from collections import OrderedDict


class LRUCache:
    """Maps keys to values; `get` and `put` both count as use."""

    def __init__(self, capacity):
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self.capacity = capacity
        self.hits = 0
        self.misses = 0
        self._items = OrderedDict()

    def __len__(self):
        return len(self._items)

    def keys(self):
        """The keys, least recently used first."""
        return list(self._items)

    def get(self, key, default=None):
        """The value of `key`, or `default` when the cache has none."""
        if key not in self._items:
            self.misses += 1
            return default
        self.hits += 1
        return self._items[key]

    def put(self, key, value):
        """Stores `value`, forgetting one other key where there is no room."""
        if len(self._items) >= self.capacity:
            self._items.popitem(last=True)
        self._items[key] = value
