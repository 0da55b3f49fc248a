-- What keeps the order of events and lets none get lost, on both ends of the bus.

-- How far each consumer of this service has come with the events of each topic and key. Written after their effects, so
-- it may lag behind the inbox, and never runs ahead: event n + 1 is taken only when n is noted here.
create table event_cursor (
    key      text    not null,
    topic    text    not null,
    consumer text    not null,
    sequence integer not null, -- highest one that was taken or put aside
    constraint event_cursor_pk primary key (key, topic, consumer),
    constraint event_cursor_sequence_ck check (sequence >= 1)
) strict, without rowid;

-- Events that a consumer of this service could not take for the event's own sake, and the later ones of their topic and
-- key, which wait behind them. Written by the consumer; a row goes when the event was taken, or an operator drops it.
create table dead_letter (
    key          text    not null,
    topic        text    not null,
    consumer     text    not null,
    sequence     integer not null,
    event_id     text    not null,
    occurred_at  integer not null, -- microseconds since the Unix epoch
    payload      text    not null, -- JSON
    state        text    not null, -- DEAD: waits for an operator; HELD: waits for those before it; REPLAY: to be offered again
    attempts     integer not null, -- how often it was offered for itself; 0 while it never was
    last_error   text    not null, -- what the latest attempt said; empty while there was none
    put_aside_at integer not null, -- microseconds since the Unix epoch
    constraint dead_letter_pk primary key (key, topic, consumer, sequence),
    constraint dead_letter_event_uq unique (event_id, consumer),
    constraint dead_letter_state_ck check (state in ('DEAD', 'HELD', 'REPLAY'))
) strict;

-- The topics that this service publishes, and how much of each is known to have arrived. Written by the relay.
create table event_stream (
    topic     text    not null,
    history   text    not null, -- the bus's data that `watermark` was measured in; empty at first
    watermark integer not null, -- microseconds since the Unix epoch; every consumer has all that was published before
    constraint event_stream_pk primary key (topic)
) strict, without rowid;
