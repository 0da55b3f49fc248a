-- Orders and their audit trail. Written only by the group-commit worker of the order service.

-- One row an order, or the tombstone of one that was cancelled before it arrived (version 0, no contents). The row is
-- also the record of the CreateOrder that made it. A row moves only along the order machine, its version by one a move,
-- and final states absorb (invariant I11).
create table orders (
    order_id      text    not null,
    tenant_id     text    not null,
    buyer_id      text,             -- a tombstone may not know
    state         text    not null,
    version       integer not null, -- moves made; 0 for a tombstone
    fingerprint   text,             -- of the CreateOrder; null for a tombstone, like the next four
    price         text,             -- JSON: the snapshot that inventory gave when the stock was reserved
    total_minor   integer,          -- its total, in minor units of the currency
    currency      text,             -- ISO 4217
    address       text,             -- JSON
    cancel_reason text    not null, -- empty unless CANCELLED
    created_at    integer not null, -- microseconds since the Unix epoch
    updated_at    integer not null,
    constraint orders_pk primary key (order_id),
    constraint orders_state_ck check (state in (
        'PENDING', 'AWAITING_PAYMENT', 'PAID', 'FULFILLING', 'SHIPPED', 'DELIVERED', 'COMPLETED', 'CANCELLED',
        'REFUNDING', 'REFUNDED', 'RETURNING', 'RETURNED'
    )),
    constraint orders_contents_ck check (
        (fingerprint is null) = (price is null) and (price is null) = (total_minor is null)
        and (total_minor is null) = (currency is null) and (currency is null) = (address is null)
    ),
    constraint orders_tombstone_ck check (
        version >= 0 and (version = 0) = (fingerprint is null)
        and (version > 0 or state = 'CANCELLED') and (version = 0 or buyer_id is not null)
    )
) strict;

-- Lists go newest first by buyer, or by state; an order's id sorts by the time of its minting.
create index orders_buyer_ix on orders (tenant_id, buyer_id, order_id);
create index orders_state_ix on orders (tenant_id, state, order_id);

-- What was bought, by whom and at which price never changes (invariant I16).
create trigger orders_contents_tr
before update of order_id, tenant_id, buyer_id, fingerprint, price, total_minor, currency, address, created_at on orders
begin
    select raise(abort, 'orders_contents_tr: what was bought never changes');
end;

-- The append-only audit trail: one row a move, numbered 1, 2, 3 within its order, without a gap (invariant I15). Each is
-- also an event in the outbox.
create table order_event (
    order_id   text    not null,
    version    integer not null, -- the order's version after the move
    name       text    not null, -- the move
    from_state text,             -- null for the first
    to_state   text    not null,
    role       text    not null, -- who moved it
    reason     text    not null, -- may be empty
    request_id text,             -- the call that asked for it; null when an event did
    at         integer not null, -- microseconds since the Unix epoch
    constraint order_event_pk primary key (order_id, version),
    constraint order_event_order_fk foreign key (order_id) references orders (order_id),
    constraint order_event_version_ck check (version >= 1 and (version = 1) = (from_state is null)),
    constraint order_event_role_ck check (role in ('SAGA', 'BUYER', 'OPERATOR', 'CARRIER', 'SYSTEM'))
) strict, without rowid;

create trigger order_event_update_tr before update on order_event
begin
    select raise(abort, 'order_event_update_tr: the audit trail is append-only');
end;

create trigger order_event_delete_tr before delete on order_event
begin
    select raise(abort, 'order_event_delete_tr: the audit trail is append-only');
end;
