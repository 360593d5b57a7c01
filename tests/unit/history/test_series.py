"""Counters that begin anew, replicas that come and go, stretches that nobody watched."""

from __future__ import annotations

import math

import numpy as np
import pytest
from torpor.history import series
from torpor.history.source import Series

START = 1_000_000.0


def one(times: list[float], values: list[float], **labels: str) -> Series:
    return Series(labels, START + np.array(times, float), np.array(values, float))


def test_growth_counts_resets_and_births_but_not_what_was_there_before() -> None:
    old = one([0, 15, 30, 45], [1000, 1010, 3, 5], pod="a")  # began anew between 15 and 30
    young = one([300, 315], [7, 9], pod="b")  # was born while somebody watched
    grown = series.growth([old, young], 15.0, [], START)
    assert grown.total == 10 + 3 + 2 + 7 + 2
    born = int(np.argmax(grown.ends == START + 300))
    assert (grown.begins[born], grown.amounts[born]) == (START + 285, 7)


def test_what_a_counter_shows_at_its_first_scrape_is_no_burst_where_it_is_too_much() -> None:
    attached = one([300, 315], [1_000_000, 1_000_002], pod="a")  # monitoring began long after the engine
    assert series.growth([attached], 15.0, [], START).total == 2


def test_growth_over_a_gap_is_kept_and_lies_in_the_gap() -> None:
    counter = one([0, 15, 3600, 3615], [0, 10, 500, 510], pod="a")
    gap = series.unwatched([counter], None, 15.0, START, START + 3615)
    assert gap == [(START + 15, START + 3600)]
    assert series.growth([counter], 15.0, gap, START).total == 510
    reborn = one([3600, 3615], [40, 41], pod="b")
    grown = series.growth([reborn], 15.0, gap, START)
    assert (grown.begins[-1], grown.amounts[-1]) == (START + 15, 40)  # it may have come at any time in it


def test_a_fleet_that_sleeps_was_watched_if_the_server_was_there() -> None:
    pods = [one([0, 15], [1, 2], pod="a"), one([7200, 7215], [1, 2], pod="b")]
    beats = START + np.arange(0, 7230, 15.0)
    assert series.unwatched(pods, beats, 15.0, START, START + 7230) == []
    assert series.unwatched(pods, None, 15.0, START, START + 7230) == []  # new pods: it slept
    away = beats[(beats < START + 600) | (beats > START + 1800)]
    assert series.unwatched(pods, away, 15.0, START, START + 7230) == [(START + 600 - 15, START + 1815)]


def test_a_server_that_was_there_and_did_not_look_watched_nothing() -> None:
    pod = one([0, 15, 3600, 3615], [1, 2, 90, 91], pod="a")
    beats = START + np.arange(0, 3630, 15.0)
    assert series.unwatched([pod], beats, 15.0, START, START + 3630) == [(START + 15, START + 3600)]


def test_names_of_two_generations_are_one_series_and_count_once() -> None:
    new = one([100, 115], [5, 6], __name__="new", pod="a")
    old = one([0, 15, 100, 115], [1, 2, 5, 6], __name__="old", pod="a")
    (found,) = series.merged([old, new], ("new", "old"))
    assert found.times.tolist() == [START, START + 15, START + 100, START + 115]
    assert found.values.tolist() == [1, 2, 5, 6]


def test_what_is_no_number_is_left_out_and_counted() -> None:
    (found,), dropped = series.sound([one([0, 15, 30, 45, 45], [1, math.nan, -1, math.inf, 4])])
    assert (found.values.tolist(), dropped) == ([1, 4], 3)
    assert series.sound([one([0], [math.nan])]) == ([], 1)


def test_replicas_are_told_apart_by_what_is_not_the_metrics_own() -> None:
    ranks = [
        one([0, 15, 30], [0, 0, 0], pod="a", engine="0", model_name="m"),
        one([0, 15, 30], [0, 0, 0], pod="a", engine="1", model_name="m"),
        one([15, 30], [0, 0], pod="b", engine="0", model_name="m"),
    ]
    steps = series.counted(ranks, 15.0, START + 30)
    assert [count for _, count in steps] == [1, 2, 0]
    assert series.seconds(steps, START, START + 30, []) == pytest.approx(30 + 22.5)
    assert series.seconds(steps, START, START + 30, [(START + 20, START + 30)]) == pytest.approx(20 + 12.5)
