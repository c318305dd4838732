"""Void lists: where a reader goes on by a person's word, branch by branch."""

from dataclasses import replace

import pytest

from schemas.journal import FilterState, JournalError, Opened, Verdict, digest_of, encode_opened
from schemas.ports import Read
from schemas.voids import ForeignError, Void, passed, take, word_of

GARBAGE = b"not ours"
BEFORE = FilterState("n1", 7, 4, "n4", 3, 30, "d3", 4)
"""Who has read offsets up to 6, with three commits."""


def read(offset: int, value: bytes = GARBAGE) -> Read:
    return Read(offset, 0, None, value, ())


def void(
    first: int, until: int, state: FilterState, *, lost: bool = False, digest: str = ""
) -> Void:
    return Void(0, first, until, lost, digest, state, "what", "why", "ada", 1)


FOREIGN = void(7, 9, replace(BEFORE, next=9), digest=digest_of(GARBAGE))
BEGINNING = void(0, 50, FilterState("n1", 70, 60, "n60", 40, 400, "d40", 60), lost=True)
END = void(7, 7, replace(BEFORE, seq=1_000))


def test_records_that_are_void_are_passed_over_undecoded_and_leave_the_rest_as_it_was() -> None:
    state, records = BEFORE, []
    for offset, value in ((7, GARBAGE), (8, GARBAGE), (9, encode_opened("one", "n9"))):
        state, record, verdict = take([FOREIGN], 0, state, read(offset, value), folds=True)
        records.append(record)
        assert verdict is Verdict.VOID
    assert records == [None, None, Opened("one", "n9")]
    assert state == replace(BEFORE, next=10, epoch=9, nonce="n9")


@pytest.mark.parametrize("at", [6, 9, 20])
def test_who_is_elsewhere_is_not_concerned(at: int) -> None:
    here = replace(BEFORE, next=at)
    assert (
        passed([FOREIGN, BEGINNING], replace(here, next=max(at, 50)), None, folds=True).next >= 50
    )
    assert passed([FOREIGN], here, read(at), folds=True) == here


def test_a_record_that_is_not_void_halts_as_ever() -> None:
    with pytest.raises(JournalError, match="not a journal record"):
        take([FOREIGN], 0, replace(BEFORE, next=9), read(9), folds=True)


def test_a_foreign_first_record_is_passed_over_and_the_journal_has_an_id_all_the_same() -> None:
    digest = digest_of(GARBAGE)
    first = void(0, 1, FilterState(journal_id=digest, next=1), digest=digest)
    state, _, _ = take([first], 0, FilterState(), read(0), folds=True)
    assert state == first.state
    state, _, _ = take([first], 0, state, read(1, encode_opened("one", "n1")), folds=True)
    assert (state.journal_id, state.epoch) == (digest, 1)


def test_a_journal_made_anew_is_none_of_an_old_lists_business() -> None:
    opened = read(0, encode_opened("one", "n9"))
    for old in (BEGINNING, void(0, 1, FOREIGN.state, digest=FOREIGN.digest)):
        state, record, _ = take([old], 0, FilterState(), opened, folds=True)
        assert (state.journal_id, record) == ("n9", Opened("one", "n9"))
    other = replace(BEFORE, journal_id="n9")
    assert passed([FOREIGN, BEGINNING, END], other, read(7), folds=True) == other


def test_a_reader_on_another_history_may_not_go_on_behind_the_place() -> None:
    with pytest.raises(JournalError, match="another history than the one that ada looked at"):
        passed([FOREIGN], replace(BEFORE, digest="other"), read(7), folds=False)


@pytest.mark.parametrize("at", [0, 1, 49])
def test_behind_a_lost_beginning_a_reader_goes_on_with_the_snapshot(at: int) -> None:
    before = replace(BEFORE, next=at, seq=1) if at else FilterState()
    assert passed([BEGINNING], before, read(50), folds=False) == BEGINNING.state


@pytest.mark.parametrize("at", [0, 1, 49])
def test_who_folds_can_not_do_without_what_is_lost(at: int) -> None:
    before = replace(BEFORE, next=at, seq=1) if at else FilterState()
    with pytest.raises(JournalError, match="only a snapshot from behind them can be begun with"):
        passed([BEGINNING], before, read(50), folds=True)


@pytest.mark.parametrize("at", [50, 69, 70, 71])
def test_who_has_read_beyond_the_lost_beginning_reads_on(at: int) -> None:
    before = replace(BEFORE, next=at)
    assert passed([BEGINNING], before, read(at), folds=True) == before


def test_behind_a_lost_end_numbers_go_on_above_all_that_was_seen_once() -> None:
    state = passed([END], BEFORE, read(7), folds=True)
    assert state == replace(BEFORE, seq=1_000)
    assert passed([END], state, read(7), folds=True) == state
    later = replace(state, next=8, epoch=7)
    assert passed([END], later, read(8), folds=True) == later


def test_what_was_read_beyond_a_lost_end_never_happened() -> None:
    beyond = replace(BEFORE, next=12, seq=8, digest="d8")
    with pytest.raises(JournalError, match="never happened: the journal of shard 0 lost its end"):
        passed([END], beyond, None, folds=False)


def test_a_checkpoint_that_strayed_is_known_wherever_the_journal_was_written_on_from() -> None:
    end = void(20, 20, replace(BEFORE, next=20, seq=1_000))._replace(strayed=("d8",))
    with pytest.raises(JournalError, match="never happened"):
        passed([end], replace(BEFORE, next=12, seq=8, digest="d8"), None, folds=False)
    assert passed([end], replace(BEFORE, next=12), None, folds=False).next == 12


def test_a_journal_that_begins_later_halts_with_the_way_on() -> None:
    with pytest.raises(JournalError, match=r"begins at offset 50.*`headrace shard void 3`"):
        take([], 3, FilterState(), read(50), folds=True)


def test_a_void_is_read_back_as_it_was_written() -> None:
    for one in (FOREIGN, BEGINNING, END):
        assert word_of(Read(0, 0, None, one.record().value, ())) == one


def test_a_list_of_a_newer_release_halts() -> None:
    value = (END.record().value or b"").replace(b'"version":1', b'"version":2')
    with pytest.raises(JournalError, match="newer release wrote the void list at voids/0@3: up"):
        word_of(read(3, value))


def test_a_list_of_this_version_with_what_it_does_not_know_is_a_newer_releases() -> None:
    value = (END.record().value or b"").replace(b'"reason":', b'"why":')
    with pytest.raises(JournalError, match="newer release"):
        word_of(read(3, value))


@pytest.mark.parametrize("value", [GARBAGE, b"", b"[]", b"7", b"{}", b'{"version":"1"}'])
def test_what_no_release_writes_is_foreign_to_the_list(value: bytes) -> None:
    with pytest.raises(ForeignError, match="`headrace shard foreign voids/0@3` leads over it"):
        word_of(read(3, value))
