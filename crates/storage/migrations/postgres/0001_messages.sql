-- Tables that every service has, whatever it is about.

-- Events, written in the transaction of the change that they report (invariant I15). Relays claim what is not yet
-- published, a row only together with every lower unpublished one of its topic and key. Transactions commit in any order,
-- so a position says roughly how old a row is, and never that all rows below it have been seen.
create table outbox (
    key           text   not null, -- what the event is about; events of one topic and key are numbered 1, 2, 3, ...
    topic         text   not null,
    sequence      bigint not null,
    event_id      uuid   not null,
    occurred_at   bigint not null, -- microseconds since the Unix epoch
    payload       text   not null, -- JSON
    position      bigint not null generated always as identity,
    claimed_until bigint not null default 0, -- microseconds since the Unix epoch; until then one relay is publishing it
    published_at  bigint,          -- microseconds since the Unix epoch; null until the bus has it
    constraint outbox_pk primary key (key, topic, sequence),
    constraint outbox_sequence_ck check (sequence >= 1)
) with (fillfactor = 80);

create index outbox_unpublished_ix on outbox (position) where published_at is null;

-- Events that a consumer of this service has taken, written in the transaction of their effect (invariant I6).
create table inbox (
    event_id uuid   not null,
    consumer text   not null,
    taken_at bigint not null, -- microseconds since the Unix epoch
    constraint inbox_pk primary key (event_id, consumer)
);

-- Answers of mutating calls whose domain row is not itself the record, written in the transaction of their effect
-- (invariant I5). Kept 30 days.
create table idempotency (
    request_id  uuid   not null,
    scope       text   not null, -- method, and whose key it is
    fingerprint text   not null, -- version and SHA-256 of the command's normal form
    answer      text   not null, -- JSON
    created_at  bigint not null, -- microseconds since the Unix epoch
    constraint idempotency_pk primary key (request_id, scope)
);

create index idempotency_created_ix on idempotency (created_at);
