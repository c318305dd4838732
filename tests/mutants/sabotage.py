"""One-line sabotages of guards, each with the check that must notice it.

A guard that can be taken out unnoticed isn't tested. Where two guards double each other they are
taken out together, and each by itself against the test that asks for it directly.
"""

from typing import Final, NamedTuple

_FILTER: Final = "schemas/journal.py"
_ENGINE: Final = "orchestrator/runtime/engine.py"
_REPLICA: Final = "orchestrator/runtime/replica.py"
_SNAPSHOTS: Final = "orchestrator/runtime/snapshots.py"
_INTAKE: Final = "orchestrator/runtime/intake.py"
_STANDBY: Final = "orchestrator/runtime/standby.py"
_RELAY: Final = "orchestrator/runtime/relay.py"
_PUBLISHER: Final = "orchestrator/runtime/publisher.py"
_PROJECTOR: Final = "projections/projector.py"
_POSTGRES: Final = "projections/postgres.py"
_VOIDS: Final = "schemas/voids.py"
_AUDITING: Final = "orchestrator/core/auditing.py"
_EVOLVE: Final = "orchestrator/core/evolve.py"
_CANCELLING: Final = "orchestrator/core/cancelling.py"

_FILTER_TESTS: Final = "tests/schemas/test_journal_filter.py"
_ENGINE_TESTS: Final = "tests/runtime/test_engine.py"
_SNAPSHOT_TESTS: Final = "tests/runtime/test_snapshots.py"
_INTAKE_TESTS: Final = "tests/intake/test_intake.py"
_RELAY_TESTS: Final = "tests/runtime/test_relay.py"
_VOID_TESTS: Final = "tests/schemas/test_voids.py"
_POSTGRES_TESTS: Final = "tests/projections/test_postgres.py"
_PROJECTOR_TESTS: Final = "tests/projections/test_projector.py"
_STANDBY_TESTS: Final = "tests/runtime/test_standby.py"
_EXPORT_TESTS: Final = "tests/export/test_export.py"
_TOGETHER_TESTS: Final = "tests/export/test_together.py"
_DEDUPE_TESTS: Final = "tests/core/test_dedupe.py"
_TRUE_SENTENCES: Final = (
    "tests/properties/test_true_explanations.py::test_every_sentence_of_an_explanation_is_true"
)


class Edit(NamedTuple):
    """`old` stands exactly once in the file."""

    file: str
    old: str
    new: str


class Mutant(NamedTuple):
    """A sabotage, and the tests (pytest node ids) one of which must fail."""

    name: str
    edits: tuple[Edit, ...]
    checks: tuple[str, ...]


def _mutant(name: str, file: str, old: str, new: str, *checks: str) -> Mutant:
    return Mutant(name, (Edit(file, old, new),), checks)


_NO_EPOCH: Final = Edit(
    _FILTER,
    "    if (record.epoch, record.nonce) != (state.epoch, state.nonce):\n",
    "    if False:\n",
)
_TRUSTING: Final = (
    Edit(
        _ENGINE, "        if appended.base_offset != self.confirmed.next:\n", "        if False:\n"
    ),
    Edit(
        _ENGINE,
        "journal.step(self.confirmed, appended.base_offset, sent.record)",
        "journal.step(self.confirmed, self.confirmed.next, sent.record)",
    ),
)
_FENCED: Final = (
    f"{_ENGINE_TESTS}::test_a_stale_writers_commit_is_void_and_it_takes_over_only_after_a_pause"
)
_BAD_LUCK: Final = (
    f"{_ENGINE_TESTS}::test_an_append_of_unknown_outcome_loses_nothing_and_repeats_nothing"
)

MUTANTS: Final = (
    # What a broker may shorten.
    _mutant(
        "an engine looks at its journal's settings alone",
        _ENGINE,
        'endangered(topics, "journal", "inbox", "voids")',
        'endangered(topics, "journal")',
        f"{_ENGINE_TESTS}::test_refuses_an_inbox_and_voids_that_the_broker_may_shorten_or_thin_out",
    ),
    _mutant(
        "intake looks at no topic's settings",
        _INTAKE,
        'endangered(topics, "network", "inbox")',
        "endangered(topics)",
        f"{_INTAKE_TESTS}"
        "::test_master_data_and_inboxes_that_the_broker_may_shorten_or_thin_out_are_refused",
    ),
    # Offsets of a relay that a broker forgot.
    _mutant(
        "a journal is published again without a word",
        _PUBLISHER,
        "        if end > _OPENED:\n",
        "        if False:\n",
        f"{_RELAY_TESTS}::test_who_finds_no_offset_says_that_it_publishes_all_again",
    ),
    # Halts, snapshots and standbys, over time.
    _mutant(
        "what was told of a shard is kept while another has it",
        _ENGINE,
        "for number, halt in told.items() if number in here}",
        "for number, halt in told.items()}",
        "tests/runtime/test_halts.py"
        "::test_a_halt_is_told_again_when_another_process_had_the_shard_in_between",
    ),
    _mutant(
        "segments are named for ever",
        _SNAPSHOTS,
        " or now_s - own.since_s > REWRITE_S:",
        ":",
        f"{_SNAPSHOT_TESTS}"
        "::test_after_a_day_all_is_written_anew_so_that_retention_takes_nothing_of_the_newest",
    ),
    _mutant(
        "a standby goes by old answers of the broker",
        _STANDBY,
        " or now_ms - fetched_ms > _FRESH_MS:",
        ":",
        f"{_STANDBY_TESTS}::test_who_has_old_answers_of_the_broker_alone_suspects_nobody",
    ),
    _mutant(
        "a standby that stood still suspects the owner of it",
        _STANDBY,
        "if now_s - looked_s > _GAP_S or ",
        "if ",
        f"{_STANDBY_TESTS}::test_who_stood_still_itself_suspects_nobody_for_it",
    ),
    # Defects stay with their shard.
    _mutant(
        "a projector's defect takes its process down",
        _PROJECTOR,
        "            except Exception:  # noqa",
        "            except StopIteration:  # noqa",
        f"{_PROJECTOR_TESTS}::test_a_defect_halts_its_shard_and_nothing_else",
    ),
    _mutant(
        "a publisher's defect takes its process down",
        _PUBLISHER,
        "            except Exception:  # noqa",
        "            except StopIteration:  # noqa",
        f"{_RELAY_TESTS}::test_a_defect_halts_the_relay_of_its_shard_and_nothing_else",
    ),
    # Two projectors of a shard.
    _mutant(
        "who is overtaken begins anew at once",
        _PROJECTOR,
        "                if not leave.is_set():  # overtaken",
        "                if False:  # overtaken",
        f"{_PROJECTOR_TESTS}::test_who_is_overtaken_pauses_before_it_begins_anew",
    ),
    # Intake's positions.
    _mutant(
        "positions of any number of shards are saved",
        _INTAKE,
        "    if shards > _TOLD_SHARDS:\n",
        "    if False:\n",
        f"{_INTAKE_TESTS}::test_positions_are_saved_with_any_number_of_shards",
    ),
    # The filter.
    Mutant("no epoch and no acknowledgement check", (_NO_EPOCH, *_TRUSTING), (_FENCED,)),
    Mutant(
        "no epoch check",
        (_NO_EPOCH,),
        (f"{_FILTER_TESTS}::test_a_stale_writers_commit_is_void_whatever_it_holds",),
    ),
    _mutant(
        "no nonce check",
        _FILTER,
        "(record.epoch, record.nonce) != (state.epoch, state.nonce)",
        "record.epoch != state.epoch",
        f"{_FILTER_TESTS}::test_the_right_epoch_with_another_nonce_is_stale",
    ),
    _mutant(
        "an epoch may be one that nobody opened",
        _FILTER,
        "if record.epoch > state.epoch:",
        "if record.epoch >= offset:",
        f"{_FILTER_TESTS}::test_an_epoch_that_nobody_was_seen_to_open_halts",
    ),
    _mutant(
        "no seq check",
        _FILTER,
        "if record.seq <= state.seq:",
        "if False:",
        f"{_FILTER_TESTS}::test_an_older_commit_again_is_void",
    ),
    _mutant(
        "seq compared with <",
        _FILTER,
        "if record.seq <= state.seq:",
        "if record.seq < state.seq:",
        f"{_FILTER_TESTS}::test_the_same_commit_again_is_void",
    ),
    _mutant(
        "two contents pass",
        _FILTER,
        "if same and record.digest != state.digest:",
        "if False:",
        f"{_FILTER_TESTS}::test_two_contents_for_one_commit_halt",
    ),
    _mutant(
        "the newest commit's epoch is not kept",
        _FILTER,
        "            last_epoch=record.epoch,\n",
        "            last_epoch=state.last_epoch,\n",
        f"{_FILTER_TESTS}::test_two_contents_for_one_commit_halt",
    ),
    _mutant(
        "a gap passes",
        _FILTER,
        "if record.seq != state.seq + 1:",
        "if False:",
        f"{_FILTER_TESTS}::test_a_gap_halts",
    ),
    _mutant(
        "prev is not looked at",
        _FILTER,
        "if record.prev != state.digest or record.inbox_from",
        "if record.inbox_from",
        f"{_FILTER_TESTS}::test_a_commit_decided_on_another_history_halts",
    ),
    _mutant(
        "inbox_from is not looked at",
        _FILTER,
        "if record.prev != state.digest or record.inbox_from != state.inbox_next:",
        "if record.prev != state.digest:",
        f"{_FILTER_TESTS}::test_a_commit_decided_on_another_history_halts",
    ),
    _mutant(
        "a hole passes",
        _FILTER,
        "if offset != state.next:",
        "if False:",
        f"{_FILTER_TESTS}::test_a_hole_halts",
    ),
    _mutant(
        "a void record takes no offset",
        _FILTER,
        "void = replace(state, next=offset + 1)",
        "void = state",
        f"{_FILTER_TESTS}::test_a_stale_writers_commit_is_void_whatever_it_holds",
    ),
    _mutant(
        "a checkpoint without its epoch",
        _FILTER,
        "return orjson.dumps(self).decode()",
        "return orjson.dumps(replace(self, epoch=-1)).decode()",
        f"{_FILTER_TESTS}::test_the_filter_state_survives_its_json",
    ),
    # The engine.
    Mutant("trusting the acknowledgement", _TRUSTING, (_FENCED,)),
    _mutant(
        "no nonce",
        _ENGINE,
        'nonce = f"{self._randomness.bits(128):032x}"',
        'nonce = "0"',
        f"{_ENGINE_TESTS}::test_what_was_decided_is_never_decided_again_after_a_restart",
    ),
    _mutant(
        "the inbox position outlives the commit",
        _ENGINE,
        "        self._read_next = self.confirmed.inbox_next\n",
        "        self._read_next = max(self._read_next, self.confirmed.inbox_next)\n",
        _BAD_LUCK,
    ),
    _mutant(
        "who is to leave opens all the same",
        _ENGINE,
        "        self._check_wanted()  # an epoch of who is to leave would only fence who comes\n",
        "",
        f"{_ENGINE_TESTS}::test_a_writer_told_to_leave_while_it_opens_fences_nobody",
    ),
    _mutant(
        "a shard that halts is taken over",
        "orchestrator/runtime/standby.py",
        "self.suspects = dead and not await self._owner_halts()",
        "self.suspects = dead",
        "tests/runtime/test_standby.py::"
        "test_a_shard_that_halts_is_not_taken_over_until_its_owner_is_helped_on",
    ),
    _mutant(
        "what is assigned again goes on where it was",
        _INTAKE,
        "saved[partition].offset > self._position[partition]",
        "False",
        f"{_INTAKE_TESTS}::test_what_another_member_took_in_between_is_not_taken_again",
    ),
    _mutant(
        "what was read ahead outlives the commit",
        _ENGINE,
        "        self._queue.clear()\n",
        "",
        f"{_ENGINE_TESTS}::test_what_was_read_ahead_is_forgotten_when_a_commit_is_lost",
    ),
    _mutant(
        "a commit of unknown outcome counts",
        _ENGINE,
        "        appended = await sent.answer\n",
        "        appended = await sent.answer if sent.answer.done() and not sent.answer.exception()"
        " else Appended(self.confirmed.next, 0)\n",
        _BAD_LUCK,
    ),
    _mutant(
        "two writers fight",
        _ENGINE,
        'why, pause_s = "fenced", self._away_s(self._config.fenced_pause_s)',
        'why, pause_s = "fenced", self._config.failed_pause_s',
        _FENCED,
    ),
    _mutant(
        "who opens a shard in vain does so again at once",
        _ENGINE,
        "        if self._in_vain <= 1:",
        "        if self._in_vain:",
        f"{_STANDBY_TESTS}::test_an_owner_that_opens_and_can_not_work_leaves_the_shard_to_its_standby",
    ),
    _mutant(
        "whose commits are confirmed counts as one who opens in vain",
        _ENGINE,
        "        self.confirmed = state\n        self._in_vain = 0\n",
        "        self.confirmed = state\n",
        f"{_ENGINE_TESTS}::test_who_commits_between_failures_is_never_away_for_longer",
    ),
    _mutant(
        "a hole in the inbox passes",
        _ENGINE,
        "if record.offset != self._read_next:",
        "if False:",
        f"{_ENGINE_TESTS}::test_a_hole_in_the_inbox_halts_the_shard",
    ),
    _mutant(
        "a poison input is skipped",
        _ENGINE,
        """return self._halt(
                batch, PoisonError(what, self._names(cause, offset), renewable), error
            )""",
        "return True",
        f"{_ENGINE_TESTS}::test_a_poison_input_halts_its_shard_after_committing_what_came_before",
    ),
    _mutant(
        "who halts looks for orders in what is no longer there",
        _ENGINE,
        "            except OutOfRange:\n                # The inbox is trimmed",
        "            except ZeroDivisionError:\n                # The inbox is trimmed",
        "tests/runtime/test_halts.py::"
        "test_a_halted_shard_that_another_led_on_goes_on_though_its_inbox_is_trimmed",
    ),
    Mutant(
        "time goes back",
        (
            Edit(_ENGINE, "now_ms = max(shard.now_ms, self._now_ms())", "now_ms = self._now_ms()"),
            Edit(
                _ENGINE,
                "elif now_ms > shard.now_ms and not self._add",
                "elif now_ms != shard.now_ms and not self._add",
            ),
        ),
        (f"{_ENGINE_TESTS}::test_time_never_goes_back_in_the_journal",),
    ),
    _mutant(
        "a snapshot of a quiet shard is left to retention",
        "orchestrator/runtime/standby.py",
        "        elif now_s >= self._look_s:",
        "        elif now_s < 0:",
        "tests/runtime/test_standby.py",
    ),
    _mutant(
        "a partition is read to its end before the next",
        "orchestrator/runtime/kafka_log.py",
        "        self._served |= fetched.keys()\n",
        "",
        "tests/contract/test_event_log.py",
    ),
    _mutant(
        "a clock that is set forward is believed",
        _ENGINE,
        "        if ahead_ms > _MAX_CLOCK_SKEW_MS:",
        "        if ahead_ms < -1e15:",
        f"{_ENGINE_TESTS}::test_a_clock_that_is_set_forward_is_compared_anew_before_it_dates_anything",
    ),
    _mutant(
        "a clock that was refused opens its shard again and again",
        _ENGINE,
        "        if self._doubt.stands():\n            raise _DoubtError\n",
        "",
        f"{_ENGINE_TESTS}::test_whose_clock_was_refused_opens_nothing_until_it_is_set",
    ),
    _mutant(
        "a standby takes over by a clock that was refused",
        _ENGINE,
        " or self._doubts[one.number].stands()\n",
        "\n",
        f"{_STANDBY_TESTS}::test_a_standby_whose_clock_was_refused_takes_nothing_over_any_more",
    ),
    _mutant(
        "a shard that is closed keeps what it held",
        _ENGINE,
        "        await in_slices(self._core.let_go(before), self._clock)\n",
        "",
        f"{_ENGINE_TESTS}::test_what_a_shard_held_is_let_go_when_it_closes",
    ),
    _mutant(
        "what a shadow held is dropped as it is",
        "orchestrator/runtime/history.py",
        "            await in_slices(self._let_go(self._known), self._clock)\n",
        "",
        "tests/runtime/test_shadow.py::test_what_a_shadow_held_is_let_go_when_it_begins_anew_or_ends",
    ),
    _mutant(
        "a standby's word is taken whatever the journal's end",
        _ENGINE,
        "    if followed.next > end:",
        "    if followed.next > end + 1:",
        "tests/runtime/test_voids.py::"
        "test_a_standby_that_had_read_what_the_journal_lost_is_not_opened_from",
    ),
    _mutant(
        "intake waits for a membership that has ended",
        "orchestrator/runtime/intake.py",
        "            except MembershipEnded:\n",
        "            except ZeroDivisionError:\n",
        "tests/intake/test_intake.py::test_a_membership_that_has_ended_ends_the_role",
    ),
    _mutant(
        "a relay sends what it had read before it stood still",
        "orchestrator/runtime/relay.py",
        "now_s - self._awake_s > self._session_s:",
        "now_s < self._awake_s:",
        "tests/runtime/test_relay.py::"
        "test_who_stood_still_for_longer_than_its_session_puts_nothing_old_on_top",
    ),
    _mutant(
        "an inbox that lacks records is called sound",
        "orchestrator/voiding.py",
        "    if goes_on == at or not state.next:",
        "    if goes_on >= at or not state.next:",
        "tests/runtime/test_voids.py::"
        "test_what_an_inbox_lost_is_passed_over_by_a_persons_word_and_by_every_role",
    ),
    _mutant(
        "whoever asks for bounds makes a consumer",
        "orchestrator/runtime/kafka_log.py",
        "        self._asking.append(reader)\n",
        "        await reader.close()\n",
        "tests/contract/test_event_log.py::"
        "test_whoever_asks_for_bounds_again_and_again_leaves_nothing_behind",
    ),
    _mutant(
        "a leg costs whatever its prices come to, beyond 64 bits",
        "orchestrator/core/sourcing/tables.py",
        "            min(transport, MOST_MINOR),\n",
        "            transport,\n",
        "tests/core/test_most_money.py",
    ),
    _mutant(
        "a what-if decides again what repeats an input that it left out",
        "orchestrator/replay/loop.py",
        "        if row.repeated and not self.in_step:\n",
        "        if row.repeated and self.in_step is None:\n",
        "tests/replay/test_closed_loop.py",
    ),
    _mutant(
        "who ends as it is says nothing of a halt",
        "orchestrator/commands/run.py",
        "    os._exit(0 if failure is None else failure.exit_code)",
        "    os._exit(0)",
        "tests/commands/test_run.py::"
        "test_a_process_that_ends_as_it_is_says_still_that_a_shard_halted",
    ),
    _mutant(
        "what planning made keeps a shard that is let go",
        "orchestrator/core/shard.py",
        "        market.tables = None\n",
        "",
        "tests/core/test_letting_go.py",
    ),
    _mutant(
        "what planning made of a network keeps itself when the network changes",
        "orchestrator/core/sourcing/tables.py",
        "        self.kept = kept\n",
        "        self.kept = kept and tables\n",
        "tests/core/test_letting_go.py",
    ),
    _mutant(
        "a slow clock opens",
        _ENGINE,
        "if abs(skew_ms) > _MAX_CLOCK_SKEW_MS:",
        "if skew_ms > _MAX_CLOCK_SKEW_MS:",
        f"{_ENGINE_TESTS}::test_a_clock_may_be_five_minutes_off_and_no_more",
    ),
    _mutant(
        "the inbox is trimmed behind what was only read",
        _ENGINE,
        "before = self.confirmed.inbox_next - self._config.trim_margin",
        "before = self._read_next",
        f"{_ENGINE_TESTS}::test_the_inbox_is_trimmed_behind_the_journal_less_a_margin",
    ),
    _mutant(
        "an order about an input leads over another halt",
        _ENGINE,
        "        self._order = None  # it may be about another input\n",
        "",
        "tests/runtime/test_halts.py::"
        "test_an_order_about_an_input_leads_over_no_tick_that_fails_before_it",
    ),
    _mutant(
        "a word that can't be read ends who waits for more",
        _VOIDS,
        "            except JournalError as error:\n                if str(error) != told:",
        "            except ZeroDivisionError as error:\n                if str(error) != told:",
        "tests/runtime/test_voids.py::test_a_word_that_this_release_can_not_read_ends_no_process",
    ),
    _mutant(
        "a word that can't be read is told at every look",
        _VOIDS,
        "                if str(error) != told:\n",
        "                if True:\n",
        "tests/runtime/test_voids.py::"
        "test_a_word_that_can_not_be_read_is_told_once_however_often_it_is_looked_at",
    ),
    _mutant(
        "a word that can't be read ends who follows",
        "orchestrator/runtime/follower.py",
        "except (LogError, JournalError) as error:",
        "except LogError as error:",
        "tests/runtime/test_follower.py::"
        "test_a_word_on_what_is_void_that_it_can_not_read_halts_it_and_ends_no_process",
    ),
    _mutant(
        "JSON of any shape is an input",
        "schemas/inbox.py",
        "        if type(record.get(name)) is not kind:\n",
        "        if False:\n",
        "tests/runtime/test_halts.py::"
        "test_json_that_is_no_input_is_skipped_by_order_and_what_came_before_is_committed",
    ),
    _mutant(
        "an origin of any shape is one",
        "schemas/inbox.py",
        ' and not _is_origin(record["origin"]):\n',
        " and False:\n",
        "tests/runtime/test_halts.py::"
        "test_json_that_is_no_input_is_skipped_by_order_and_what_came_before_is_committed",
    ),
    _mutant(
        "what can't be journaled isn't skipped by its coordinates",
        _ENGINE,
        "        with suppress(orjson.JSONEncodeError):  # nested",
        "        with suppress():  # nested",
        "tests/runtime/test_halts.py::"
        "test_an_input_nested_too_deep_to_be_journaled_is_skipped_by_order",
    ),
    _mutant(
        "an order need not say who gave it",
        _ENGINE,
        "record if signed and record",
        "record if record",
        "tests/runtime/test_halts.py::"
        "test_an_order_that_lacks_what_it_is_about_or_who_gave_it_is_none",
    ),
    _mutant(
        "an order that another carried out is kept",
        _ENGINE,
        "        if self.inbox_next > self._order_after:\n",
        "        if False:\n",
        "tests/runtime/test_halts.py::"
        "test_an_order_that_another_carried_out_skips_no_input_that_bears_the_name_later",
    ),
    _mutant(
        "an order that didn't help is tried again",
        _ENGINE,
        "at = max(poison.after, tried) if names == poison.names else poison.after",
        "at = poison.after",
        "tests/runtime/test_halts.py::"
        "test_an_order_whose_skip_fails_is_tried_once_and_the_next_one_is_heard",
    ),
    _mutant(
        "an order whose commit is lost counts as tried",
        _ENGINE,
        "        if poison is None:\n            self._tried = ([], 0)",
        "        if False:\n            self._tried = ([], 0)",
        "tests/runtime/test_halts.py::test_a_skip_is_journaled_once_whatever_becomes_of_its_commit",
    ),
    _mutant(
        "a halted shard opens by an order without a pause",
        _ENGINE,
        """order=self._order["data"])
            await self._pause(self._config.failed_pause_s)
""",
        """order=self._order["data"])
""",
        "tests/runtime/test_halts.py::"
        "test_a_shard_that_orders_do_not_help_pauses_before_it_opens_again",
    ),
    _mutant(
        "what is skipped is journaled whatever its size",
        _ENGINE,
        "            if size + _HEAD_BYTES <= journal.MAX_COMMIT_BYTES:\n",
        "            if size:\n",
        "tests/runtime/test_halts.py::"
        "test_an_input_that_no_commit_can_hold_is_skipped_by_order_and_told_by_coordinates",
    ),
    _mutant(
        "a membership waits for a poll that never comes",
        "orchestrator/runtime/kafka_log.py",
        "        self._go_on()\n",
        "",
        "tests/runtime/test_kafka_group.py::test_a_refused_member_has_no_shard_and_asks_again",
    ),
    _mutant(
        "a rest ends what a role holds back",
        "orchestrator/runtime/kafka_log.py",
        "for one in self._at if one not in self._paused))\n",
        "for one in self._at))\n",
        "tests/runtime/test_kafka_reader.py::"
        "test_a_partition_held_back_stays_so_after_a_rest_and_one_let_go_waits_for_it",
    ),
    _mutant(
        "a reader rests while more is known to be there",
        "orchestrator/runtime/kafka_log.py",
        "        if self._pace_s and self._took_all(active, read):\n",
        "        if self._pace_s and read:\n",
        "tests/runtime/test_kafka_reader.py::test_a_backlog_is_read_without_a_rest",
    ),
    _mutant(
        "an engine reads on whatever it holds",
        _ENGINE,
        " or self._queue_bytes >= _QUEUE_BYTES:",
        ":",
        f"{_ENGINE_TESTS}::test_no_more_is_read_while_much_is_undecided_however_few_the_records",
    ),
    _mutant(
        "a standby reads on whatever it holds",
        "orchestrator/runtime/standby.py",
        "self._held_bytes >= self._config.held_bytes:",
        "False:",
        "tests/runtime/test_standby.py::"
        "test_a_standby_reads_no_more_than_so_much_while_a_snapshot_is_written",
    ),
    _mutant(
        "a commit may pass its limit",
        _ENGINE,
        "if batch.size + len(encoded) + 1 > journal.MAX_COMMIT_BYTES:",
        "if batch.size > journal.MAX_COMMIT_BYTES:",
        f"{_ENGINE_TESTS}::"
        "test_commits_stay_below_their_limit_and_nothing_is_left_out_at_the_border",
    ),
    _mutant(
        "an entry beside the limit is left out",
        _ENGINE,
        "            self._pending = pending\n            return False\n",
        "            return False\n",
        f"{_ENGINE_TESTS}::"
        "test_commits_stay_below_their_limit_and_nothing_is_left_out_at_the_border",
    ),
    _mutant(
        "void commits are folded",
        _REPLICA,
        "if verdict is Verdict.VALID and isinstance(record, Commit):",
        "if isinstance(record, Commit):",
        "tests/runtime/test_follower.py",
        _ENGINE_TESTS,
    ),
    # Snapshots.
    _mutant(
        "a snapshot without origins",
        "orchestrator/core/snapshot.py",
        '        yield ["marks", [[*source, offset] for source, offset in piece]]\n',
        "        pass\n",
        "tests/properties/test_snapshots.py",
    ),
    _mutant(
        "lines without reserved units have places when a snapshot is restored",
        "orchestrator/core/snapshot.py",
        "                if promised.reserved:\n",
        "                if True:\n",
        "tests/properties/test_snapshots.py",
    ),
    _mutant(
        "the next chunks are read when these are taken in",
        _SNAPSHOTS,
        "                    ahead.begin()\n",
        "",
        f"{_SNAPSHOT_TESTS}::test_while_some_chunks_are_taken_in_the_next_are_read",
    ),
    _mutant(
        "a snapshot beyond one's own opening",
        _SNAPSHOTS,
        "if before is not None and filter_state.next > before:",
        "if False:",
        f"{_SNAPSHOT_TESTS}::test_a_snapshot_of_after_our_opening_is_not_ours_to_open_from",
    ),
    _mutant(
        "a chunk's checksum is not looked at",
        _SNAPSHOTS,
        "if read.value is None or checksum(read.value) != chunk.checksum:",
        "if read.value is None:",
        _SNAPSHOT_TESTS,
    ),
    _mutant(
        "the snapshot before is removed too",
        _SNAPSHOTS,
        "_KEPT: Final = 2",
        "_KEPT: Final = 1",
        f"{_SNAPSHOT_TESTS}::"
        "test_only_ones_own_older_snapshots_are_removed_and_the_one_before_is_kept",
    ),
    # Intake and the fold of origins.
    _mutant(
        "the mark compared with <",
        _EVOLVE,
        "if origin[2] <= shard.marks.get(source, -1):",
        "if origin[2] < shard.marks.get(source, -1):",
        f"{_DEDUPE_TESTS}::test_a_record_at_or_below_its_origins_mark_was_handled",
    ),
    _mutant(
        "one mark for all partitions of a topic",
        _EVOLVE,
        "source = (origin[0], origin[1])",
        "source = (origin[0], 0)",
        f"{_DEDUPE_TESTS}::test_marks_are_kept_by_topic_and_partition",
    ),
    _mutant(
        "the dedupe window off by one",
        _EVOLVE,
        "shard.ids[shard.id_order[0]] < oldest",
        "shard.ids[shard.id_order[0]] <= oldest",
        f"{_DEDUPE_TESTS}::test_an_id_names_one_event_for_a_day",
    ),
    _mutant(
        "the number of ids off by one",
        _EVOLVE,
        "if len(shard.ids) >= DEDUPE_IDS:",
        "if len(shard.ids) > DEDUPE_IDS:",
        f"{_DEDUPE_TESTS}::"
        "test_where_too_many_ids_come_in_a_day_the_oldest_fall_out_and_are_counted",
    ),
    _mutant(
        "intake takes a failed append for done",
        _INTAKE,
        "                raise outcome\n",
        "                return\n",
        f"{_INTAKE_TESTS}::test_an_append_of_unknown_outcome_is_done_again_with_a_new_writer",
    ),
    _mutant(
        "batches of a partition are sent out of order",
        _INTAKE,
        "for batch in batches(self._acknowledged.lacking(to, records)):",
        "for batch in reversed([*batches(self._acknowledged.lacking(to, records))]):",
        f"{_INTAKE_TESTS}::test_batches_stay_below_what_an_append_takes",
    ),
    Mutant(
        "intake sends what is queued after a failed send",
        (
            Edit(
                _INTAKE,
                "        for batch in batches(self._acknowledged.lacking(to, records)):\n",
                "        failed = None\n"
                "        for batch in batches(self._acknowledged.lacking(to, records)):\n",
            ),
            Edit(
                _INTAKE,
                "            appended = await self._writer.append(to, batch)\n",
                "            try:\n"
                "                appended = await self._writer.append(to, batch)\n"
                "            except LogError as error:\n"
                "                failed = error\n"
                "                continue\n",
            ),
            Edit(
                _INTAKE,
                "appended.base_offset + len(batch)\n",
                "appended.base_offset + len(batch)\n        if failed:\n            raise failed\n",
            ),
        ),
        (f"{_INTAKE_TESTS}::test_nothing_is_sent_behind_a_batch_that_failed",),
    ),
    _mutant(
        "a writer sends what is queued after a failed send",
        "orchestrator/runtime/kafka_log.py",
        '        if self._dead:\n            raise Refused(f"{where}: this writer failed before',
        '        if False:\n            raise Refused(f"{where}: this writer failed before',
        "tests/contract/test_unknown_outcomes.py"
        "::test_an_append_that_is_lost_itself_is_unknown_and_it_is_not_there",
    ),
    _mutant(
        "while one inbox takes nothing the others get everything again and again",
        _INTAKE,
        "                self._acknowledged.remember(taken)\n",
        "",
        f"{_INTAKE_TESTS}::test_while_one_inbox_takes_nothing_the_others_get_each_record_once",
    ),
    _mutant(
        "what one inbox acknowledged counts for all",
        "orchestrator/runtime/batches.py",
        "repr((to, record.key, [*record.headers])).encode()",
        "repr((to, record.key, [*record.headers])).encode()[:0]",
        f"{_INTAKE_TESTS}::test_an_input_of_every_shard_reaches_the_one_that_was_away",
    ),
    _mutant(
        "a record that rejected can't take is sent whole",
        _INTAKE,
        "    if size <= most_bytes:\n",
        "    if True:\n",
        f"{_INTAKE_TESTS}"
        "::test_of_a_record_that_rejected_can_not_take_the_reason_and_the_place_are_kept",
    ),
    _mutant(
        "what retention took of an input topic was never sent again",
        "orchestrator/commands/rejected.py",
        "known_from[one.origin.partition] > one.origin.offset + 1 and",
        "False and",
        "tests/intake/test_replaying_rejected.py"
        "::test_what_was_sent_again_is_not_sent_once_more_when_its_topic_forgot_it",
    ),
    _mutant(
        "what is lost of a journal is folded without a snapshot",
        _SNAPSHOTS,
        " or self._voids.lost(self.number):\n",
        ":\n",
        "tests/runtime/test_snapshots.py::"
        "test_where_the_journals_beginning_is_lost_the_topics_answer_is_waited_for",
    ),
    _mutant(
        "a broker that doesn't answer has come to the end",
        "schemas/silence.py",
        "        if answered_ms != self._answered_ms:\n",
        "        if True:\n",
        "tests/runtime/test_whole.py::test_a_broker_that_stands_still_has_not_come_to_the_end",
    ),
    _mutant(
        "a journal ends where its broker gives nothing",
        "schemas/silence.py",
        " and self._partition.topic not in _WITHOUT_GAPS:",
        ":",
        "tests/runtime/test_whole.py::"
        "test_where_no_offset_is_ever_left_out_an_answer_with_nothing_is_no_end",
    ),
    _mutant(
        "a journal whose first record isn't read at once is another one",
        "schemas/voids.py",
        "                if silence.is_the_end():\n",
        "                if True:\n",
        "tests/runtime/test_whole.py::test_a_journal_whose_broker_stands_still_is_not_another_one",
    ),
    Mutant(
        "intake doesn't read network to its end",
        (
            Edit(_INTAKE, "        await session.read_network_to_its_end()\n", ""),
            Edit(_INTAKE, "                    await self.read_network_to_its_end()\n", ""),
        ),
        (f"{_INTAKE_TESTS}::test_network_is_read_to_its_end_before_anything_is_taken_in",),
    ),
    _mutant(
        "a node may move to another market",
        _INTAKE,
        "if home != fact.market_id:",
        "if False:",
        f"{_INTAKE_TESTS}::test_routing_never_changes",
    ),
    # The relay.
    _mutant(
        "publish before commit",
        _RELAY,
        "                        verdict is Verdict.VALID\n                        and isinstance",
        "                        isinstance",
        f"{_RELAY_TESTS}::test_what_the_filter_voids_is_not_published",
    ),
    _mutant(
        "the relay takes a failed append for done",
        _PUBLISHER,
        "            await asyncio.gather(*tasks)\n        except",
        "            await asyncio.gather(*tasks, return_exceptions=True)\n        except",
        f"{_RELAY_TESTS}::"
        "test_after_a_lost_acknowledgement_everything_is_published_again_with_the_same_ids",
    ),
    _mutant(
        "while one topic takes nothing the relay repeats the others",
        _PUBLISHER,
        "                self._acknowledged.remember(taken)\n",
        "                pass\n",
        f"{_RELAY_TESTS}::"
        "test_while_one_topic_takes_nothing_consumers_of_the_others_hear_nothing_twice",
    ),
    _mutant(
        "the relay goes on in another journal",
        _PUBLISHER,
        "if await self._voids.journal_id(self.number) != state.journal_id:",
        "if not await self._voids.journal_id(self.number):",
        f"{_RELAY_TESTS}::test_a_checkpoint_of_another_journal_halts",
    ),
    _mutant(
        "who takes over publishes nothing again",
        _RELAY,
        "if now - took_over > self._takeover_s:",
        "if False:",
        f"{_RELAY_TESTS}::test_who_takes_over_publishes_the_newest_availability_of_each_key_again",
    ),
    # The projector.
    _mutant(
        "blind checkpoint write",
        _POSTGRES,
        "WHERE shard = %s AND journal_id = %s AND seq = %s AND next = %s",
        "WHERE shard = %s AND (true OR journal_id = %s AND seq = %s AND next = %s)",
        f"{_POSTGRES_TESTS}::test_who_loses_the_compare_and_swap_writes_nothing",
    ),
    _mutant(
        "a checkpoint of another journal passes",
        _POSTGRES,
        "WHERE shard = %s AND journal_id = %s AND seq",
        "WHERE shard = %s AND (true OR journal_id = %s) AND seq",
        f"{_POSTGRES_TESTS}::test_a_journal_made_anew_does_not_pass_for_the_old_one",
    ),
    _mutant(
        "rows without their checkpoint",
        _POSTGRES,
        "                if not moved:\n                    raise psycopg.Rollback\n",
        "",
        f"{_POSTGRES_TESTS}::test_who_loses_the_compare_and_swap_writes_nothing",
    ),
    _mutant(
        "a lost compare-and-swap goes on",
        _PROJECTOR,
        "seq=batch.state.seq,\n            )\n            return False\n",
        "seq=batch.state.seq,\n            )\n            return True\n",
        "tests/projections/test_projector.py::test_who_finds_another_checkpoint_reads_it_again_and_goes_on_from_there",
    ),
    _mutant(
        "the projector writes void commits",
        _PROJECTOR,
        "case Commit() if verdict is Verdict.VALID:",
        "case Commit() if True:",
        "tests/projections/test_projector.py",
        "tests/projections/test_fold.py",
    ),
    # The core.
    _mutant(
        "a rejection keeps its reservation",
        _EVOLVE,
        '        _unreserve(shard, fulfillment, fulfillment_line, released["quantity"])\n',
        "",
        "tests/core/test_handshake.py::"
        "test_a_rejection_moves_stock_by_its_reason_and_sources_elsewhere",
    ),
    Mutant(
        "a rejection answers for what the node still has",
        (
            Edit(_CANCELLING, "        went[key] -= units\n", "        went[key] -= 0\n"),
            Edit(_CANCELLING, "still = min(units, left[key])", "still = 0"),
        ),
        (
            "tests/core/test_cancelling.py::test_a_rejection_of_other_units_leaves_the_node_its_answer",
        ),
    ),
    _mutant(
        "what went otherwise is told again",
        _CANCELLING,
        "        went[key] -= units\n",
        "        went[key] -= 0\n",
        "tests/core/test_cancelling.py::test_each_unit_that_goes_otherwise_is_told_once",
    ),
    _mutant(
        "a request whose units went otherwise has its answer for ever",
        _EVOLVE,
        '    if event.get("inferred"):\n',
        "    if False:\n",
        "tests/core/test_cancelling.py::test_a_node_may_stop_by_any_request_what_it_still_has",
    ),
    _mutant(
        "more waits for an answer than the node still has",
        "orchestrator/core/orders.py",
        "return min(asked, line.outstanding - line.reserved if taken_back else line.reserved)",
        "return asked",
        "tests/core/test_cancelling.py::test_too_late_is_said_once_for_each_unit_that_stays",
    ),
    _mutant(
        "a node stops more than it has",
        _CANCELLING,
        "                units = min(units, there)\n",
        "",
        "tests/core/test_cancelling.py::test_more_can_not_be_stopped_than_a_node_still_has",
    ),
    _mutant(
        "what is told again is told of what is left",
        _CANCELLING,
        "    return not anew\n",
        "    return False\n",
        "tests/core/test_cancelling.py::"
        "test_too_late_again_for_more_than_waits_leaves_the_rest_its_answer",
    ),
    _mutant(
        "a rejection of what was never there is a repeat",
        "orchestrator/core/orders.py",
        "            if units > (line.rejected if how",
        "            if False and (line.rejected if how",
        "tests/core/test_handshake.py::test_what_a_node_rejects_again_and_has_no_more_is_a_repeat",
    ),
    _mutant(
        "too late is final",
        _EVOLVE,
        '        if event["answer"] == "rejected":\n',
        "        if False:\n",
        "tests/core/test_cancelling.py::test_a_node_may_stop_what_it_said_it_was_too_late_for",
    ),
    _mutant(
        "what a node stopped is taken for others that it was too late for",
        _CANCELLING,
        "if held is None or stopped[line_id] >= units:",
        "if held is None:",
        "tests/core/test_cancelling.py::test_what_may_be_stopped_or_not_is_told_with_what_ends_it",
    ),
    _mutant(
        "what was taken back is stopped as if still promised",
        _CANCELLING,
        'min(stopped["quantity"], line.reserved)',
        'stopped["quantity"]',
        "tests/core/test_cancelling.py::"
        "test_what_was_asked_for_and_went_is_stopped_of_what_was_taken_back",
    ),
    _mutant(
        "units to be cancelled that a count takes back are asked for twice",
        "orchestrator/core/stock.py",
        "    if units > asked_already:",
        "    asked_already = 0\n    if units > asked_already:",
        "tests/core/test_cancelling.py::test_no_unit_is_to_be_stopped_by_two_requests",
    ),
    _mutant(
        "units taken off the shelf stay promised",
        _EVOLVE,
        "            _unreserve(shard, fulfillment, fulfillment_line, off)\n",
        "            pass\n",
        "tests/core/test_handshake.py::test_a_partial_shipment_leaves_the_rest_to_do",
    ),
    _mutant(
        "reserved units stay available",
        "orchestrator/core/ledger.py",
        "        self.available -= units\n",
        "        pass\n",
        "tests/core/test_placing.py",
    ),
    # What is void, and the audit.
    _mutant(
        "a void list holds for any journal of that name",
        _VOIDS,
        "        return state.journal_id == void.state.journal_id\n",
        "        return True\n",
        f"{_VOID_TESTS}::test_a_journal_made_anew_is_none_of_an_old_lists_business",
    ),
    _mutant(
        "who folds passes over lost commits",
        _VOIDS,
        "        if void.lost and folds:\n",
        "        if False:\n",
        f"{_VOID_TESTS}::test_who_folds_can_not_do_without_what_is_lost",
    ),
    _mutant(
        "a reader of another history goes on behind a void",
        _VOIDS,
        "        if not void.lost and state.digest != void.state.digest:\n",
        "        if False:\n",
        f"{_VOID_TESTS}::test_a_reader_on_another_history_may_not_go_on_behind_the_place",
    ),
    _mutant(
        "what stands in the void list and can't be read is passed over",
        _VOIDS,
        "            self._unread[read.offset] = _Unread(digest, str(error), foreign)\n",
        "",
        "tests/runtime/test_voids.py::"
        "test_who_starts_beside_a_word_that_it_can_not_read_halts_and_says_so",
    ),
    _mutant(
        "a word on another record leads over a foreign one",
        _VOIDS,
        "elif told.digest == self.foreign(told.foreign):",
        "elif self.foreign(told.foreign):",
        "tests/runtime/test_voids.py::"
        "test_a_foreign_record_of_the_list_is_passed_over_by_a_persons_word_alone",
    ),
    _mutant(
        "what a newer release wrote may be called foreign",
        _VOIDS,
        "if unread is not None and unread.foreign else None",
        "if unread is not None else None",
        "tests/runtime/test_voids.py::"
        "test_of_what_a_newer_release_wrote_nobody_can_say_that_it_is_foreign",
    ),
    _mutant(
        "words behind one that can't be read count",
        _VOIDS,
        "        if not self._unread:\n            for void",
        "        if True:\n            for void",
        "tests/runtime/test_voids.py::test_words_behind_one_that_can_not_be_read_do_not_count_yet",
    ),
    _mutant(
        "topics that were set right aren't looked at again",
        _ENGINE,
        "lead_on = self._await_safety if unsafe else self._await_word",
        "lead_on = self._await_word",
        f"{_ENGINE_TESTS}::test_a_shard_whose_topics_are_set_right_goes_on_by_itself",
    ),
    _mutant(
        "no order leads over what is due and can't be told",
        _ENGINE,
        "due = not batch.entries and self._to_skip([self._tick_name()])",
        "due = False",
        "tests/runtime/test_halts.py::"
        "test_what_is_due_and_can_not_be_told_is_named_as_a_tick_and_skipped_by_order",
    ),
    _mutant(
        "what was read beyond a lost end counts",
        _VOIDS,
        "        return self.end_lost and (",
        "        return self.end_lost and False and (",
        f"{_VOID_TESTS}::test_what_was_read_beyond_a_lost_end_never_happened",
    ),
    _mutant(
        "a lost beginning goes unnoticed where there is a snapshot",
        _VOIDS,
        "    if read.offset:\n        raise",
        "    if False:\n        raise",
        "tests/runtime/test_voids.py::"
        "test_a_journal_whose_beginning_is_gone_is_refused_though_a_snapshot_would_do",
    ),
    _mutant(
        "the audit takes any promise for one of an open order",
        _AUDITING,
        "    return market.orders.get(order.key) is order and any(\n",
        "    return True or any(\n",
        "tests/core/test_auditing.py::test_every_leak_is_found",
    ),
    # What a rule set may not say.
    _mutant(
        "what is missing below a wrong name is looked for where it no longer is",
        "orchestrator/core/sourcing/rule_checks.py",
        "(at, dict):\n            at = at.get(step)\n",
        "(at, dict):\n            at = at[step]\n",
        "tests/core/test_rule_sets.py::"
        "test_a_wrong_name_and_what_is_missing_below_it_are_both_said",
    ),
    # What waits, and what is held.
    _mutant(
        "a line that goes along with another jumps the queue",
        "orchestrator/core/placing.py",
        " and queue[0][3] is order\n",
        "\n",
        "tests/core/test_backorders.py::"
        "test_a_line_that_goes_along_with_another_takes_nothing_out_of_turn",
    ),
    _mutant(
        "a pool that ended wakes nobody",
        "orchestrator/core/evolve.py",
        '        for end_ms in event.get("pools_end_ms", ()):\n',
        "        for end_ms in ():\n",
        "tests/core/test_backorders.py::"
        "test_what_waits_for_a_pools_units_gets_them_when_the_pool_ends",
    ),
    _mutant(
        "a search counts its steps, not what it looks at",
        "orchestrator/core/sourcing/search.py",
        "        self._looked(len(parts))\n",
        "        self._looked(1)\n",
        "tests/properties/test_most_units_come_first.py::"
        "test_a_search_gives_up_after_so_many_looks_and_others_run_in_between",
    ),
    _mutant(
        "a plan that is only found has ten legs at the most",
        "orchestrator/core/sourcing/search.py",
        "        while waiting and len(legs) < most_legs:\n",
        "        while waiting and len(legs) < min(most_legs, DRAFT_NODES):\n",
        "tests/properties/test_most_units_come_first.py::test_no_plan_ships_less_than_a_plain_greedy",
    ),
    _mutant(
        "what can't be one leg is looked through to its last line",
        "orchestrator/core/sourcing/search.py",
        "                in_a_row <= DRAFT_REFUSED and self.refused <=",
        "                self.refused <=",
        "tests/properties/test_most_units_come_first.py::"
        "test_what_cannot_be_one_leg_is_halved_not_asked_for_line_by_line",
    ),
    _mutant(
        "what no service takes by itself is looked for in every leg",
        "orchestrator/core/sourcing/question.py",
        "        return line.open & self.alone_from(line)[0] if self.reach.rated else line.open\n",
        "        return line.open\n",
        "tests/core/test_fences.py::"
        "test_what_no_service_takes_by_itself_is_looked_for_in_no_leg_of_a_large_order",
    ),
    _mutant(
        "what full days make late is looked for in every leg",
        "orchestrator/core/sourcing/question.py",
        "                    if priced is None or priced.days_late:\n"
        "                        able &= ~(1 << index)\n",
        "                    able &= able\n",
        "tests/core/test_fences.py::"
        "test_what_no_node_brings_in_time_is_looked_for_in_no_leg_of_a_large_order",
    ),
    _mutant(
        "a time of day is promised to the hour, and planned to the day",
        "orchestrator/core/placing.py",
        '            promised_ms = end_of(data["deliver_by"], ',
        '            promised_ms = moment_of(data["deliver_by"], ',
        "tests/core/test_promises.py::"
        "test_of_a_time_of_day_the_day_counts_in_the_plan_and_in_the_promise",
    ),
    _mutant(
        "a strategy that two before it leave nothing to is taken",
        "orchestrator/core/sourcing/rule_checks.py",
        "            less = _less(left, unmet[0]) if len(unmet) == 1 else left\n",
        "            less = left\n",
        "tests/core/test_rule_sets.py::"
        "test_a_strategy_whose_orders_earlier_ones_decide_between_them_is_refused",
    ),
    _mutant(
        "a service that a heavy leg could not go by is not told",
        "orchestrator/core/sourcing/tables.py",
        '            return "too_heavy"\n',
        '            return ""\n',
        "tests/core/test_fences.py::test_services_that_a_leg_could_not_go_by_are_told_with_why",
    ),
    _mutant(
        "what Headrace promised by itself is recorded as asked for",
        "orchestrator/core/sourcing/record.py",
        "    if question.request.promised:\n",
        "    if False:\n",
        "tests/core/test_rated_plans.py::"
        "test_what_is_sourced_again_keeps_the_promise_where_that_is_worth_its_price",
    ),
    _mutant(
        "what was promised is forgotten when it is sourced again",
        "orchestrator/core/placing.py",
        "    if promised is None or not data.keys().isdisjoint(",
        "    if True or not data.keys().isdisjoint(",
        "tests/core/test_rated_plans.py::"
        "test_what_is_sourced_again_keeps_the_promise_where_that_is_worth_its_price",
    ),
    _mutant(
        "what Headrace promised by itself is a fence",
        "orchestrator/core/placing.py",
        'turn.cause["type"], promised=True)',
        'turn.cause["type"])',
        "tests/core/test_rated_plans.py::"
        "test_a_day_that_nobody_asked_for_keeps_no_order_from_what_is_there",
    ),
    _mutant(
        "what a closed node holds stays there",
        "orchestrator/core/improving.py",
        "(line.open >> index & 1 and line.stays_fresh(node, together))",
        "line.stays_fresh(node, together)",
        "tests/core/test_holding.py::test_what_a_closed_node_holds_goes_to_one_that_is_open",
    ),
    _mutant(
        "each of two held parts is looked at as if the other were given back",
        "orchestrator/core/improving.py",
        "        together = count + beside.get((node.node_id, line.sku), 0)\n",
        "        together = count\n",
        "tests/core/test_holding.py::"
        "test_of_two_parts_at_a_node_one_goes_elsewhere_where_enough_is_fresh_for_one_alone",
    ),
    _mutant(
        "what a closed node holds stays there unless another is as early",
        "orchestrator/core/improving.py",
        "    elif barred:",
        "    elif False:",
        "tests/core/test_holding.py::test_what_a_fence_bars_goes_to_a_node_that_is_later_too",
    ),
    _mutant(
        "a plan for a part of what is barred rests on units that stay",
        "orchestrator/core/improving.py",
        "    if len(barred) == 1 or _gives_all(request, outcome):\n",
        "    if barred:\n",
        "tests/core/test_holding.py::test_what_moves_in_part_takes_no_units_that_stay",
    ),
    _mutant(
        "a node that closed just now is asked all the same",
        "orchestrator/core/decide.py",
        "            improving.look_again(turn, market, order, fulfillment)\n",
        "",
        "tests/core/test_holding.py::test_what_closes_just_before_the_release_is_seen_before_it",
    ),
    _mutant(
        "a suspension leaves held orders alone",
        "orchestrator/core/evolve.py",
        "    shard.touched_networks.setdefault(market.market_id, False)\n",
        "",
        "tests/core/test_holding.py::"
        "test_a_carrier_that_takes_nothing_gives_way_to_another_at_the_same_node",
    ),
    _mutant(
        "a suspended service still stands for a plan by it",
        "orchestrator/core/improving.py",
        '    if bound and not question.zone.takes(index, contents, f"{carrier}/{service}"):\n',
        "    if False:\n",
        "tests/core/test_holding.py::"
        "test_a_carrier_that_takes_nothing_gives_way_to_another_at_the_same_node",
    ),
    _mutant(
        "a request goes for a day that is over",
        "orchestrator/core/improving.py",
        "fulfillment.ship_by_ms + LATE_MS < now_ms",
        "now_ms < 0",
        "tests/core/test_holding.py::test_a_request_whose_day_is_over_goes_for_another_day",
    ),
    _mutant(
        "an improvement begins the hold anew",
        "orchestrator/core/placing.py",
        "        until_ms = min(until_ms, release_ms)\n",
        "        pass\n",
        "tests/core/test_holding.py::test_an_improvement_makes_no_hold_longer",
    ),
    _mutant(
        "an improvement may leave later where nothing says when it arrives",
        "orchestrator/core/improving.py",
        "leg.ship_by_ms > leaves_ms if",
        "False if",
        "tests/core/test_holding.py::"
        "test_where_nothing_says_when_it_arrives_an_improvement_leaves_no_later",
    ),
    _mutant(
        "units at a node that ships on no day are available",
        "orchestrator/core/shard.py",
        "self.offers = self.active and self.sends",
        "self.offers = self.active and self.ships",
        "tests/core/test_availability.py::test_a_threshold_is_kept_by_nodes_that_ship",
    ),
    _mutant(
        "nobody is told when a node ships on no day any more",
        "orchestrator/core/decide.py",
        '        turn.emit({"type": "work_queued", "work": ["offered", node.node_id]})\n',
        "        pass\n",
        "tests/core/test_availability.py::test_units_at_a_node_that_ships_on_no_day_dont_count",
    ),
    _mutant(
        "an item that is corrected wakes nobody",
        "orchestrator/core/evolve.py",
        '                    shard.freed_skus[(market.market_id, data["sku"])] = None\n',
        "",
        "tests/core/test_backorders.py::"
        "test_an_item_that_is_corrected_goes_to_who_waits_for_it_in_their_order",
    ),
    _mutant(
        "a node that no service takes it from is told as dearer",
        "orchestrator/core/sourcing/record.py",
        "        if unable:\n",
        "        if False:\n",
        "tests/core/test_fences.py::"
        "test_the_nearest_node_is_not_called_dearer_where_no_service_takes_it_from_there",
    ),
    _mutant(
        "a node with too few units is told as dearer",
        "orchestrator/core/sourcing/record.py",
        "        return bits & free & ~whole\n",
        "        return 0\n",
        _TRUE_SENTENCES,
    ),
    _mutant(
        "what the rules keep at nodes is said to wait for stock",
        "orchestrator/core/sourcing/record.py",
        "    there = holders.bits(1)\n",
        "    there = 0\n",
        _TRUE_SENTENCES,
    ),
    _mutant(
        "a node whose days are full is weighed as if it came in time",
        "orchestrator/core/sourcing/record.py",
        "            if late:\n",
        "            if False:\n",
        _TRUE_SENTENCES,
    ),
    _mutant(
        "a strategy is taken for reachable though an earlier one decides all its orders",
        "orchestrator/core/sourcing/rule_checks.py",
        "        elif wider:\n",
        "        elif False:\n",
        "tests/core/test_rule_sets.py::"
        "test_a_strategy_whose_orders_an_earlier_one_decides_is_refused",
    ),
    _mutant(
        "fences that leave no node are taken",
        "orchestrator/core/sourcing/rule_checks.py",
        "    if not all(failed):\n",
        "    if True:\n",
        "tests/core/test_rule_sets.py::test_fences_that_no_node_of_the_market_passes_are_refused",
    ),
    _mutant(
        "a line that nodes have is cancelled with the rest of its order",
        "orchestrator/core/placing.py",
        "        if parts is not None:\n",
        "        if False:\n",
        "tests/core/test_whole_or_nothing.py::"
        "test_a_line_in_stock_that_may_not_wait_waits_for_the_rest_of_its_order",
    ),
    _mutant(
        "what is held of an order in one piece stays while the rest goes elsewhere",
        "orchestrator/core/placing.py",
        "    if not order.allow_split:\n",
        "    if False:\n",
        "tests/core/test_whole_or_nothing.py::"
        "test_what_is_held_of_an_order_that_goes_in_one_piece_moves_with_the_rest",
    ),
    _mutant(
        "a shard is folded while a plan supposes what isn't so",
        _REPLICA,
        "                await self.settled()\n",
        "",
        "tests/runtime/test_follower.py::"
        "test_nobody_folds_into_a_shard_or_looks_at_it_while_a_plan_of_it_gives_way",
    ),
    # Exports and live figures.
    _mutant(
        "export: what one of several has written counts before the others have",
        "orchestrator/export/together.py",
        "        while all(rounds):\n",
        "        while any(rounds):\n",
        f"{_TOGETHER_TESTS}::test_an_export_that_several_share_is_the_same",
    ),
    _mutant(
        "export: several that come to other positions are believed",
        "orchestrator/export/together.py",
        '            if any(Position.of(one["reached"]) != reached for one in wrote):\n',
        "            if False:\n",
        f"{_TOGETHER_TESTS}::test_processes_that_read_other_journals_are_noticed",
    ),
    _mutant(
        "export: one that lacks commits which are lost is gone on with behind them",
        "orchestrator/export/exporter.py",
        "        elif kept.filter.next < lost.state.next:\n",
        "        elif False:\n",
        f"{_EXPORT_TESTS}::test_an_export_begins_behind_a_lost_beginning_and_says_so",
    ),
    _mutant(
        "export: files are put together while somebody reads them",
        "orchestrator/export/directory.py",
        "LOCK_EX | fcntl.LOCK_NB)\n            for names in many:\n",
        "LOCK_UN)\n            for names in many:\n",
        f"{_EXPORT_TESTS}::test_many_small_files_of_a_day_that_is_over_are_put_together",
    ),
    _mutant(
        "live figures: a leg that is told later counts with what decided it first",
        "orchestrator/kpis/figures.py",
        "    given = [leg for leg in legs if leg.node_id in told]\n",
        "    given = list(legs)\n",
        "tests/kpis/test_figures.py::test_a_plan_told_in_parts_is_counted_once",
    ),
    _mutant(
        "live figures: a split plan whose last part is one leg counts as whole",
        "orchestrator/kpis/figures.py",
        "    alone = left if len(left) == 1 else []\n",
        "    alone = left[:0]\n",
        "tests/kpis/test_figures.py::test_a_plan_told_in_parts_is_counted_once",
    ),
    _mutant(
        "what a node held of an order in one piece is told as given back",
        "orchestrator/core/placing.py",
        'withdraw(turn, order, fulfillment, units, "replanned")',
        'withdraw(turn, order, fulfillment, units, "taken_back")',
        "tests/core/test_whole_or_nothing.py::"
        "test_what_is_held_of_an_order_that_goes_in_one_piece_moves_with_the_rest",
    ),
    _mutant(
        "a shard that can't be read keeps the others from answering",
        "orchestrator/commands/unread.py",
        "    if first is not None and not some:\n",
        "    if first is not None:\n",
        "tests/commands/test_state.py::"
        "test_where_no_shard_can_be_read_the_first_one_s_reason_is_told",
    ),
    _mutant(
        "what waits for its answer when history ends is no answer to come",
        "orchestrator/replay/period.py",
        "            self._awaited(work)\n",
        "            pass\n",
        "tests/replay/test_young_periods.py::"
        "test_slow_answers_that_history_does_not_know_yet_are_not_drawn_as_quick_ones",
    ),
    _mutant(
        "each part of a plan is charged for the legs of all",
        "orchestrator/replay/outcome.py",
        "min(len(legs), len(new) + 1)",
        "len(legs)",
        "tests/replay/test_closed_loop.py::test_a_plan_that_is_told_in_parts_is_paid_for_once",
    ),
    _mutant(
        "an order pays for the plan of another that the entry told before",
        "orchestrator/replay/outcome.py",
        "explained[plans - 1]",
        "explained[0]",
        "tests/replay/test_closed_loop.py::"
        "test_of_orders_that_are_filled_together_each_pays_for_its_own_plan",
    ),
    _mutant(
        "a process keeps the runs before its newest in memory",
        "orchestrator/replay/runs.py",
        "        deque(let_go(_before[0]), maxlen=0)\n",
        "",
        "tests/replay/test_runs.py::"
        "test_a_process_keeps_the_newest_run_in_memory_and_none_before_it",
    ),
)
