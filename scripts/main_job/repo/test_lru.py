"""What the cache promises; the module beside it breaks five of these ten."""

import pytest

from lru import LRUCache


def filled(capacity, keys):
    cache = LRUCache(capacity)
    for key in keys:
        cache.put(key, key.upper())
    return cache


def test_capacity_must_be_positive():
    with pytest.raises(ValueError):
        LRUCache(0)


def test_returns_what_was_put():
    assert filled(2, "ab").get("a") == "A"


def test_missing_key_gives_the_default():
    assert filled(1, "a").get("z", 7) == 7


def test_counts_hits_and_misses():
    cache = filled(1, "a")
    cache.get("a")
    cache.get("z")
    assert (cache.hits, cache.misses) == (1, 1)


def test_never_exceeds_its_capacity():
    assert len(filled(3, "abcdefgh")) == 3


def test_evicts_the_oldest_key():
    assert filled(2, "abc").keys() == ["b", "c"]


def test_evicts_one_key_at_a_time():
    assert filled(3, "abcde").keys() == ["c", "d", "e"]


def test_replacing_a_value_evicts_nobody():
    cache = filled(3, "abc")
    cache.put("b", "new")
    assert sorted(cache.keys()) == ["a", "b", "c"]


def test_get_counts_as_use():
    cache = filled(2, "ab")
    cache.get("a")
    assert cache.keys() == ["b", "a"]


def test_put_of_a_known_key_counts_as_use():
    cache = filled(2, "ab")
    cache.put("a", "new")
    assert cache.keys() == ["b", "a"]
