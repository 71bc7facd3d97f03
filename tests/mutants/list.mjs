// What breaks a rule of docs/invariants.md, one each: `from` stands once in `file`, `to` is what it becomes, and `test` is
// the unit test that must notice. `database`: that test needs a Postgres (BUSBAR_TEST_DATABASE_URL).

export const mutants = [
  {
    rule: '2.1', what: 'rows are published that the mark does not cover', file: 'src/shapes/ingest/commit.c', test: 'test_ingest',
    from: '\tif (!mark_covers(s, in->end_lsn))\n\t\treturn false;\n', to: '\t(void)mark_covers(s, in->end_lsn);\n',
  },
  {
    rule: '4.9', what: 'the server may have more to send', file: 'src/shapes/ingest/idle.c', test: 'test_idle',
    from: 'f->wal_end == 0 || f->reached + UNREAD_BYTES_MAX < f->wal_end', to: 'f->wal_end == 0',
  },
  {
    rule: '4.9', what: 'the guard takes steps while asleep', file: 'src/shapes/prep/guard.c', test: 'test_guard',
    from: '\tif (asleep_ms != 0)\n\t\treturn look_asleep(w, asleep_ms, &st);\n', to: '\t(void)asleep_ms;\n',
  },
  {
    rule: '5.4', what: 'who was asleep takes the lock for its own', file: 'src/shapes/core/status.c', test: 'test_idle',
    from: '\t\ts->currency = SHAPES_UNPROVEN;\n\t\ts->unproven_ms', to: '\t\ts->unproven_ms',
  },
  {
    rule: '2.1', what: 'the mark counts before it is durable', file: 'src/shapes/ingest/mark.c', test: 'test_ingest',
    from: '\tif (to < in->mark_limit)\n\t\tin->mark_limit = to;', to: '\tin->mark_limit = to;',
  },
  {
    rule: '2.1', what: 'what was received is acknowledged', file: 'src/wal/stream.c', test: 'test_stream', database: true,
    from: 'lsn_t flushed = acknowledgeable(s);', to: 'lsn_t flushed = s->received;',
  },
  {
    rule: '2.5', what: 'a commit at the position that was reached is taken for a replay', file: 'src/shapes/ingest/ingest.c',
    test: 'test_ingest', from: 'in->skip = in->tx < in->processed;', to: 'in->skip = in->tx <= in->processed;',
  },
  {
    rule: '2.4', what: 'replays are not dropped', file: 'src/shapes/ingest/ingest.c', test: 'test_ingest',
    from: 'in->skip = in->tx < in->processed;', to: 'in->skip = false;',
  },
  {
    rule: '2.7', what: 'a failed store is not opened again', file: 'src/shapes/logs/failing.c', test: 'test_writer',
    from: 'if (store_reopen(s->store, &again) == 0)', to: 'if (rest_ms == 0)',
  },
  {
    rule: '2.8', what: 'what a lost transaction staged stays', file: 'src/shapes/ingest/stage.c', test: 'test_ingest',
    from: 'void txn_unstage(struct shapes *s)\n{\n', to: 'void txn_unstage(struct shapes *s)\n{\n\tif (s != NULL)\n\t\treturn;\n',
  },
  {
    rule: '2.9', what: 'a record that was queued late brings a dropped shape back', file: 'src/shapes/logs/apply.c', test: 'test_writer',
    from: 'return shape->wr.dropped || shape->wr.drop_attempt == b->attempt;', to: 'return shape->wr.dropped && b->attempt == 0;',
  },
  {
    rule: '2.10', what: 'offsets do not begin anew with each transaction', file: 'src/shapes/ingest/ingest.c', test: 'test_ingest',
    from: '\tin->op = 0;\n', to: '\tin->op = in->txn_number & 1;\n',
  },
  {
    rule: '2.11', what: 'what is not durable is folded', file: 'src/shapes/logs/fold.c', test: 'test_writer',
    from: 'tail[count].at.tx < durable && bytes < FOLD_BYTES_MAX', to: 'bytes < FOLD_BYTES_MAX',
  },
  {
    rule: '2.12', what: 'seals are not looked at', file: 'store/seal.c', test: 'test_damage',
    from: 'return seal == seal_of(db, key, key_len, p, *len);', to: 'return seal == seal || db < 0 || key == p || key_len == 0;',
  },
  {
    rule: '2.13', what: 'another commit at the same position is taken for ours', file: 'src/shapes/logs/commits.c', test: 'test_commits',
    from: 'if (want->xid != sent->xid || want->time_us != sent->time_us)', to: 'if (want->lsn != sent->lsn)',
  },
  {
    rule: '3.1', what: 'chunks have no end', file: 'src/shapes/ingest/ingest.h', test: 'test_ingest',
    from: '\te->flags |= ENTRY_CHUNK_END;\n', to: '',
  },
  {
    rule: '3.2', what: '`seen` is raised before the tail has the rows', file: 'src/shapes/ingest/commit.c', test: 'test_ingest',
    from: '\tpublish(s);\n\tfinish_txn(s);\n', to: '\tmark_set_seen(s, in->end_lsn - 1);\n\tpublish(s);\n\tfinish_txn(s);\n',
  },
  {
    rule: '3.3', what: 'a waiter registers without a look', file: 'src/shapes/logs/read.c', test: 'test_tail',
    from: '&& log_offset_cmp(s->tail.last, seen) <= 0;', to: '&& seen.tx + 1 > 0;',
  },
  {
    rule: '3.3', what: 'nobody is woken by a row', file: 'src/shapes/core/tail.c', test: 'test_tail',
    from: '\twait_list_wake_above(&s->tail.waiters, s->tail.last, times);\n', to: '',
  },
  {
    rule: '3.4', what: 'who is parked stays when the lock goes to somebody else', file: 'src/http/loop.c', test: 'test_http',
    from: '\t\tif (c->state == CONN_PARKED)\n\t\t\tconn_unpark(c);', to: '\t\tif (c->state == CONN_PARKED && l->http == NULL)\n\t\t\tconn_unpark(c);',
  },
  {
    rule: '6.3', what: 'a snapshot is taken that lacks what the stream had passed', file: 'src/shapes/ingest/cmd.c', test: 'test_ingest',
    from: '(passed_not_held(in, c->snap, joined) || passed_doubtful(in, c->snap))', to: 'passed_doubtful(in, c->snap)',
  },
  {
    rule: '6.3', what: 'a replay counts as news for a shape that joins', file: 'src/shapes/ingest/ingest.c', test: 'test_ingest',
    from: 'passed_add_again(in, in->xid);', to: 'passed_add(in, in->xid);',
  },
  {
    rule: '6.4', what: 'a shape that joins inside a transaction gets its second half', file: 'src/shapes/ingest/cmd.c', test: 'test_ingest',
    from: '\telse if (in->in_txn)\n\t\tpassed_add(in, in->xid);\n', to: '',
  },
  {
    rule: '6.4', what: 'what was kept is not judged by the snapshot', file: 'src/shapes/ingest/cmd.c', test: 'test_ingest',
    from: 'if (en.at.tx < shape->in.filter.snap.insert_lsn && pg_snapshot_holds(', to: 'if (false && pg_snapshot_holds(',
  },
  {
    rule: '6.7', what: 'a row that the snapshot has is too costly', file: 'src/shapes/ingest/inner.c', test: 'test_ingest_sets',
    from: '\tif (!txn_filtered(w->in, shape))\n', to: '\tif (shape != NULL)\n',
  },
  {
    rule: '7.1', what: 'what subqueries select in the snapshot is not compared', file: 'src/shapes/prep/create.c', test: 'test_prep_create',
    from: 'if (sets_same(c->shapes[i]->sets, c->found[i]))', to: 'if (c->found[i] != NULL)',
  },
  {
    rule: '7.1', what: 'what changed a set while the shape joined is forgotten', file: 'src/shapes/ingest/inner.c', test: 'test_ingest_sets',
    from: 'if (!shown && apply(', to: 'if (shown && apply(',
  },
  {
    rule: '7.1', what: 'sets that a shape is registered with are counted into before its snapshot is taken', file: 'src/shapes/ingest/inner.c',
    test: 'test_ingest_sets', from: 'if (sets == shape->sets && first != NULL)', to: 'if (sets == NULL)',
  },
  {
    rule: '7.2', what: 'a shape gets what is behind the change of its set', file: 'src/shapes/ingest/commit.c', test: 'test_ingest_sets',
    from: '\tinner_commit(in);\n\trotate_touched(s);\n\tsize_t total', to: '\trotate_touched(s);\n\tinner_commit(in);\n\tsize_t total',
  },
  {
    rule: '7.2', what: 'a staged transaction changes no set', file: 'src/shapes/ingest/commit.c', test: 'test_ingest_sets',
    from: '\tinner_commit(in);\n\trotate_touched(s);\n\t/* The writer', to: '\trotate_touched(s);\n\t/* The writer',
  },
  {
    rule: '7.3', what: 'a lost count is as good as any', file: 'src/shapes/ingest/inner.c', test: 'test_ingest_sets',
    from: '\t\tif (was == SET_COUNT_LOST && by < 0)\n\t\t\treturn UNSURE;\n', to: '',
  },
  {
    rule: '7.3', what: 'TRUNCATE of a table inside is nothing', file: 'src/shapes/ingest/ingest.c', test: 'test_ingest_sets',
    from: '\t\tinner_rotate(in, route, REASON_TABLE_TRUNCATED, "a table in its condition was truncated");\n', to: '\t\treturn;\n',
  },
  {
    rule: '7.3', what: 'a partition that came with rows changes no set', file: 'src/shapes/ingest/cmd.c', test: 'test_ingest_sets',
    from: '\t\tif (c->had_rows[i])\n\t\t\trotate_watchers(', to: '\t\tif (c->had_rows[i] && s == NULL)\n\t\t\trotate_watchers(',
  },
  {
    rule: '7.3', what: 'a row without its old values takes nothing away', file: 'src/shapes/ingest/inner.c', test: 'test_ingest_sets',
    from: '\t\t\trotate_selection(in, route, sel, false, REASON_REPLICA_IDENTITY, NO_OLD_ROW);\n', to: '\t\t\treturn;\n',
  },
  {
    rule: '7.3', what: 'what a lost transaction counted stays', file: 'src/shapes/ingest/commit.c', test: 'test_ingest_sets',
    from: '\tinner_txn_clear(in);\n\ttxn_forget(in);', to: '\ttxn_forget(in);',
  },
  {
    rule: '4.3', what: 'a copy goes on when the store has no room', file: 'src/shapes/prep/copy.c', test: 'test_prep_create',
    from: '\t\treturn room < 0 ? -1 : 0;\n', to: '\t\treturn 0;\n',
  },
  {
    rule: '4.3', what: 'a copy asks for no room', file: 'src/shapes/prep/copy.c', test: 'test_prep_create',
    from: '\tif (room == 0)\n\t\troom = writer_room(c->s, c->shape, e);\n', to: '',
  },
  {
    rule: '4.6', what: 'a walsender that gets on is cut off', file: 'src/wal/stall.c', test: 'test_stall',
    from: '\t\tt->moved_ms = now_ms;\n\t}\n', to: '\t}\n',
  },
  {
    rule: '4.6', what: 'each connection gets no more time than the last', file: 'src/wal/stall.c', test: 'test_stall',
    from: 't->given_up = received > t->at ? 1 : t->given_up + 1;', to: 't->given_up = 1;',
  },
  {
    rule: '4.6', what: 'a walsender that stands is never given up', file: 'src/wal/stall.c', test: 'test_stall',
    from: 'n < STALL_DOUBLINGS_MAX ? n : STALL_DOUBLINGS_MAX', to: 'n',
  },
  {
    rule: '2.9', what: 'two handles in one microsecond', file: 'src/shapes/core/registry.c', test: 'test_prep_create',
    from: '\tif (us <= s->last_handle_us)\n\t\tus = s->last_handle_us + 1;\n', to: '',
  },
  {
    rule: '4.4', what: 'a table is published before it is FULL', file: 'src/pg/join_alter.c', test: 'test_pg_live', database: true,
    from: '\t\tif (!pg_join_row_full(j, i, may_alter) && set_full(j, i, e) != 0)\n',
    to: '\t\tif (pg_join_row_published(j, i, !may_alter) && !pg_join_row_full(j, i, may_alter) && set_full(j, i, e) != 0)\n',
  },
  {
    rule: '4.5', what: 'a slot of another plugin is taken for ours', file: 'src/wal/setup.c', test: 'test_stream', database: true,
    from: 'if (strcmp(field(res, 0), "pgoutput") != 0 || !field_true(res, 2)) {', to: 'if (!field_true(res, 2)) {',
  },
  {
    rule: '4.7', what: 'the slot is given up wherever it stands', file: 'src/shapes/prep/guard.c', test: 'test_guard',
    from: 'guard_give_up(s, look->confirmed, ', to: 'guard_give_up(s, look->wal_end, ',
  },
  {
    rule: '4.7', what: 'the slot is given up though no other could be made', file: 'src/shapes/prep/guard.c', test: 'test_guard',
    from: '\tif (in_the_way[0] != \'\\0\') {\n', to: '\tif (in_the_way[0] != \'\\0\' && o->xid == 0) {\n',
  },
  {
    rule: '4.8', what: 'what is on its way into the store takes no room', file: 'src/shapes/core/usage.c', test: 'test_limits',
    from: 'atomic_load(&u->used) + coming <= most', to: 'atomic_load(&u->used) <= most + 0 * coming',
  },
  {
    rule: '5.1', what: 'another ground ends no shape', file: 'src/shapes/prep/ground.c', test: 'test_ground_births',
    from: '\t\tjudge(s, oid, then, now);\n', to: '',
  },
  {
    rule: '6.10', what: 'a subset may lack what the stream had passed', file: 'src/shapes/ingest/cmd.c', test: 'test_ingest',
    from: 'c->result = passed_not_held(in, c->snap, c->joined) || passed_doubtful(in, c->snap) ? CMD_AGAIN : 0;', to: 'c->result = 0;',
  },
  {
    rule: '6.10', what: 'the mark need not cover a subset', file: 'src/shapes/ingest/cmd.c', test: 'test_ingest',
    from: '\tsnapshot_counts(s, c->snap);\n\tmark_poll(s);\n\tc->mark_pending', to: '\tmark_poll(s);\n\tc->mark_pending',
  },
]
