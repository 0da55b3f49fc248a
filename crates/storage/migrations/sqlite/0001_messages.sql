-- Tables that every service has, whatever it is about.

-- Events, written in the transaction of the change that they report (invariant I15). The relay reads what is not yet
-- published, in order of position; one writer assigns positions in commit order.
create table outbox (
    position     integer not null,
    event_id     text    not null,
    topic        text    not null,
    key          text    not null, -- what the event is about; events of one topic and key are numbered 1, 2, 3, ...
    sequence     integer not null,
    occurred_at  integer not null, -- microseconds since the Unix epoch
    payload      text    not null, -- JSON
    published_at integer,          -- microseconds since the Unix epoch; null until every consumer has it
    constraint outbox_pk primary key (position),
    constraint outbox_sequence_uq unique (topic, key, sequence),
    constraint outbox_sequence_ck check (sequence >= 1)
) strict;

create index outbox_unpublished_ix on outbox (position) where published_at is null;

-- Events that a consumer of this service has taken, written in the transaction of their effect (invariant I6).
create table inbox (
    consumer text    not null,
    event_id text    not null,
    taken_at integer not null, -- microseconds since the Unix epoch
    constraint inbox_pk primary key (consumer, event_id)
) strict, without rowid;

-- Answers of mutating calls whose domain row is not itself the record, written in the transaction of their effect
-- (invariant I5). Kept 30 days.
create table idempotency (
    scope       text    not null, -- method, and whose key it is
    request_id  text    not null,
    fingerprint text    not null, -- version and SHA-256 of the command's normal form
    answer      text    not null, -- JSON
    created_at  integer not null, -- microseconds since the Unix epoch
    constraint idempotency_pk primary key (scope, request_id)
) strict;

create index idempotency_created_ix on idempotency (created_at);
