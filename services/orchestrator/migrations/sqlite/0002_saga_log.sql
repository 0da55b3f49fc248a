-- The saga log: one row a saga, written only by the group-commit worker of the orchestrator. An order that goes well
-- costs two writes of it.

create table saga (
    id          text    not null, -- the order's id, for the saga that placed it
    key         text    not null, -- tenant, buyer and request_id of the call that started it (invariant I5)
    fingerprint text    not null, -- what that call said
    definition  text    not null,
    version     integer not null, -- of the definition; a saga ends under the one that started it
    input       text    not null, -- JSON: all that the steps ever need to know
    status      text    not null,
    direction   text    not null, -- which way it goes when it is taken up again
    cause       text,             -- JSON: why it was refused or turned back (invariant I10: before the first compensation)
    parked      text,             -- JSON: why it needs eyes
    journal     text,             -- JSON: how it went; only once it is finished
    epoch       integer not null, -- of the process that started it
    attempts    text    not null, -- JSON: attempts beyond the first, so that a poison saga shows
    drives      integer not null, -- how often a driver took it up again
    created     integer not null, -- microseconds since the Unix epoch
    updated     integer not null,
    wakeup      integer,          -- when to look again, while it waits or is parked
    constraint saga_pk primary key (id),
    constraint saga_key_uq unique (key),
    constraint saga_status_ck check (status in (
        'RUNNING', 'COMPENSATING', 'WAITING', 'PARKED', 'PAUSED', 'COMPLETED', 'REFUSED', 'COMPENSATED'
    )),
    constraint saga_journal_ck check ((journal is not null) = (status in ('COMPLETED', 'REFUSED', 'COMPENSATED')))
) strict;

-- Recovery reads what is unfinished, and nothing of the millions that are not.
create index saga_unfinished_ix on saga (created, id) where status not in ('COMPLETED', 'REFUSED', 'COMPENSATED');
create index saga_created_ix on saga (created, id);

-- Raised by one each time a process opens the log (invariant I8: epochs never go down).
create table epoch (
    value integer not null
) strict;

insert into epoch (value) values (0);
