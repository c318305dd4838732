"""The filter that every reader of a journal runs: each of its branches, one by one."""

from dataclasses import replace
from typing import Any

import pytest

from schemas.journal import (
    GENESIS_DIGEST,
    Commit,
    FilterState,
    JournalError,
    Opened,
    Verdict,
    decode,
    digest_of,
    encode_commit,
    encode_entry,
    encode_opened,
    happened,
    step,
)

OPENED = FilterState(journal_id="n1", next=1, epoch=0, nonce="n1")


def a_commit(state: FilterState, **changes: Any) -> Commit:  # noqa: ANN401 - any field
    """The commit that the state's own writer would send next."""
    commit = Commit(
        state.epoch,
        state.nonce,
        state.seq + 1,
        state.inbox_next,
        state.inbox_next + 1,
        state.digest,
        f"digest {state.seq + 1}",
        0,
        [],
    )
    return commit._replace(**changes)


def committed(state: FilterState = OPENED) -> FilterState:
    """After the state's next commit."""
    after, verdict = step(state, state.next, a_commit(state))
    assert verdict is Verdict.VALID
    return after


def test_the_first_record_names_the_journal_and_starts_an_epoch() -> None:
    after, verdict = step(FilterState(), 0, Opened("one", "n1"))
    assert (after, verdict) == (OPENED, Verdict.VOID)


def test_a_later_opening_starts_an_epoch_and_keeps_everything_else() -> None:
    before = committed()
    after, verdict = step(before, 2, Opened("two", "n2"))
    assert verdict is Verdict.VOID
    assert after == replace(before, next=3, epoch=2, nonce="n2")


def test_even_a_repeat_of_ones_own_opening_ends_the_epoch() -> None:
    after, _ = step(OPENED, 1, Opened("one", "n1"))
    assert after.epoch == 1
    assert step(after, 2, a_commit(OPENED))[1] is Verdict.VOID


def test_the_writers_next_commit_is_valid_and_moves_everything_on() -> None:
    assert committed() == FilterState("n1", 2, 0, "n1", 1, 1, "digest 1", 0)


def test_seq_goes_on_across_epochs() -> None:
    second, _ = step(committed(), 2, Opened("two", "n2"))
    after, verdict = step(second, 3, a_commit(second))
    assert verdict is Verdict.VALID
    assert (after.seq, after.last_epoch) == (2, 2)


@pytest.mark.parametrize("offset", [0, 2])
def test_a_hole_halts(offset: int) -> None:
    with pytest.raises(JournalError, match=f"expected offset 1, read {offset}"):
        step(OPENED, offset, a_commit(OPENED))


def test_a_journal_that_begins_with_a_commit_halts() -> None:
    with pytest.raises(JournalError, match="begins at offset 0 with a commit"):
        step(FilterState(), 0, a_commit(OPENED))


def test_a_stale_writers_commit_is_void_whatever_it_holds() -> None:
    second, _ = step(committed(), 2, Opened("two", "n2"))
    stale = a_commit(committed(), seq=9, prev="?", inbox_from=7)
    after, verdict = step(second, 3, stale)
    assert verdict is Verdict.VOID
    assert after == replace(second, next=4)


def test_the_right_epoch_with_another_nonce_is_stale() -> None:
    after, verdict = step(OPENED, 1, a_commit(OPENED, nonce="n2"))
    assert (after, verdict) == (replace(OPENED, next=2), Verdict.VOID)


@pytest.mark.parametrize("epoch", [1, 2, 5])
def test_an_epoch_that_nobody_was_seen_to_open_halts(epoch: int) -> None:
    with pytest.raises(JournalError, match=f"claims epoch {epoch}"):
        step(committed(), 2, a_commit(committed(), epoch=epoch, nonce="n2"))


def test_the_same_commit_again_is_void() -> None:
    after, verdict = step(committed(), 2, a_commit(OPENED))
    assert (after, verdict) == (replace(committed(), next=3), Verdict.VOID)


def test_an_older_commit_again_is_void() -> None:
    second = committed(committed())
    assert step(second, 3, a_commit(OPENED))[1] is Verdict.VOID


def test_two_contents_for_one_commit_halt() -> None:
    with pytest.raises(JournalError, match="two contents for commit 1 of epoch 0"):
        step(committed(), 2, a_commit(OPENED, digest="another"))


def test_the_seq_of_another_epochs_commit_is_a_repeat_and_not_a_contradiction() -> None:
    second, _ = step(committed(), 2, Opened("two", "n2"))
    assert step(second, 3, a_commit(second, seq=1, digest="another"))[1] is Verdict.VOID


def test_a_gap_halts() -> None:
    with pytest.raises(JournalError, match="commit 3 follows 1"):
        step(committed(), 2, a_commit(committed(), seq=3))


@pytest.mark.parametrize("other", [{"prev": "another"}, {"inbox_from": 5}])
def test_a_commit_decided_on_another_history_halts(other: dict[str, object]) -> None:
    with pytest.raises(JournalError, match="decided on another history"):
        step(committed(), 2, a_commit(committed(), **other))


def test_the_filter_state_survives_its_json() -> None:
    assert FilterState.from_json(committed().to_json()) == committed()


def test_records_are_read_as_they_were_written() -> None:
    cause = {
        "type": "clock_ticked",
        "version": 1,
        "id": "",
        "source": "",
        "time_ms": 5,
        "data": {},
    }
    entry = encode_entry(cause, [{"type": "master_data_kept"}])  # type: ignore[arg-type]  # a plain dict
    value = encode_commit(
        epoch=4,
        nonce="n",
        seq=2,
        inbox_from=7,
        inbox_next=9,
        prev=GENESIS_DIGEST,
        now_ms=5,
        entries=[entry, entry],
    )
    commit = decode(value, 6)
    assert isinstance(commit, Commit)
    assert commit[:8] == (4, "n", 2, 7, 9, GENESIS_DIGEST, digest_of(value), 5)
    assert [(one.entry, one.n, one.event["type"]) for one in happened(commit)] == [
        (0, 0, "master_data_kept"),
        (1, 0, "master_data_kept"),
    ]
    assert decode(encode_opened("one", "n1"), 0) == Opened("one", "n1")


def test_after_a_resumed_input_the_events_are_caused_by_it() -> None:
    parked = {"type": "order_placed", "id": "parked"}
    entry = {
        "input": {"type": "clock_ticked", "id": ""},
        "events": [
            {"type": "work_done"},
            {"type": "input_resumed", "input": parked},
            {"type": "order_accepted"},
        ],
    }
    commit = a_commit(OPENED, entries=[entry])
    assert [one.cause["id"] for one in happened(commit)] == ["", "parked", "parked"]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "is not a journal record"),
        (b"x", "is not a journal record"),
        (b"[]", "is not a journal record"),
        (b'{"version": 1}', "is not a journal record"),
        (b'{"kind": "commit", "version": 1}', "is not a journal record"),
        (b'{"kind": "other", "version": 1}', "unknown kind 'other'"),
        (b'{"kind": "commit", "version": 2}', "version 2; this release reads 1"),
    ],
)
def test_a_record_that_cannot_be_read_halts_and_says_where(value: bytes | None, what: str) -> None:
    with pytest.raises(JournalError, match=f"offset 3.*{what}"):
        decode(value, 3)
