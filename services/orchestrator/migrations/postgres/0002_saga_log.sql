-- The saga log: one row a saga, written only by the group-commit workers of the orchestrator's replicas. An order that
-- goes well costs two writes of it. Columns are those of the SQLite file, all but its epoch, which leases keep here; the
-- distribution key is the saga's id, whose tenth byte is its partition.
--
-- The caller's key is unique whatever the partition: a repeat may reach another replica, which minted its id elsewhere.
-- That is an index of this table, not a table of its own, since it would be written together with the row all the same;
-- an engine that spreads rows over machines keeps a unique index as such a table by itself.
create table saga (
    id          uuid   not null, -- the order's id, for the saga that placed it
    key         text   not null, -- tenant, buyer and request_id of the call that started it (invariant I5)
    fingerprint text   not null, -- what that call said
    definition  text   not null,
    version     bigint not null, -- of the definition; a saga ends under the one that started it
    input       text   not null, -- JSON: all that the steps ever need to know
    status      text   not null,
    direction   text   not null, -- which way it goes when it is taken up again; any replica may ask it to turn back
    cause       text,            -- JSON: why it was refused or turned back (invariant I10: before the first compensation)
    parked      text,            -- JSON: why it needs eyes
    journal     text,            -- JSON: how it went; only once it is finished
    epoch       bigint not null, -- of the lease under which it was started or taken up last (invariant I8: never goes down)
    attempts    text   not null, -- JSON: attempts beyond the first, so that a poison saga shows
    drives      bigint not null, -- how often a driver took it up again
    created     bigint not null, -- microseconds since the Unix epoch
    updated     bigint not null,
    wakeup      bigint,          -- when to look again, while it waits or is parked; 0 when somebody left word
    constraint saga_pk primary key (id),
    constraint saga_key_uq unique (key),
    constraint saga_status_ck check (status in (
        'RUNNING', 'COMPENSATING', 'WAITING', 'PARKED', 'PAUSED', 'COMPLETED', 'REFUSED', 'COMPENSATED'
    )),
    constraint saga_direction_ck check (direction in ('FORWARD', 'TURNING', 'BACKWARD', 'ONWARD')),
    constraint saga_journal_ck check ((journal is not null) = (status in ('COMPLETED', 'REFUSED', 'COMPENSATED')))
) with (fillfactor = 85);

-- Recovery reads what is unfinished, and nothing of the millions that are not.
create index saga_unfinished_ix on saga (created, id) where journal is null;
-- Owners look twice a second for timers and for word that was left; most sagas never have either.
create index saga_wakeup_ix on saga (wakeup) where wakeup is not null;
create index saga_created_ix on saga (created, id);
