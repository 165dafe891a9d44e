"""When something is so, and how that is said."""

import numpy as np
import pytest

from sspnerf.prepare.stretches import find_stretches, moment, when_said


def where(text):
    """Read `..xx.` as frames in which something is so."""
    return np.array([letter == "x" for letter in text])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("....", ()),
        ("xxxx", (range(0, 4),)),
        (".xx.", (range(1, 3),)),
        ("x..x", (range(0, 1), range(3, 4))),
    ],
)
def test_every_run_is_found_where_nothing_is_joined_or_left_out(text, expected):
    assert find_stretches(where(text), 1.0, least_s=0, join_s=0) == expected


def test_short_gaps_are_closed_before_short_stretches_are_left_out():
    # At 10 Hz: a gap of .2 s, then one of .4 s.
    seen = where("xx..xx....x")
    assert find_stretches(seen, 10.0, least_s=0.5, join_s=0.2) == (range(0, 6),)
    assert find_stretches(seen, 10.0, least_s=0.1, join_s=0.4) == (range(0, 11),)
    assert find_stretches(seen, 10.0, least_s=0.3, join_s=0.1) == ()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1:00.0"), (131.04, "2:11.0"), (119.97, "2:00.0")],
)
def test_moments_are_said_as_a_player_shows_them(seconds, said):
    assert moment(seconds) == said


@pytest.mark.parametrize(
    ("stretches", "said"),
    [
        ([range(80, 103)], "from 3.2 s to 4.1 s"),
        ([range(80, 83)], "at 3.2 s"),
        ([range(310, 500)], "from 12.4 s on"),
        ([range(0, 480)], "all the time"),
        ([range(0, 50), range(80, 103)], "from 0.0 s to 2.0 s and from 3.2 s to 4.1 s"),
        ([range(25 * k, 25 * k + 2) for k in range(1, 6)],
         "at 1.0 s, at 2.0 s, at 3.0 s and 2 more times"),
        ([range(25 * k, 25 * k + 2) for k in range(1, 5)],
         "at 1.0 s, at 2.0 s, at 3.0 s and 1 more time"),
    ],
)  # fmt: skip
def test_times_are_said_in_words(stretches, said):
    assert when_said(stretches, 500, 25.0) == said
