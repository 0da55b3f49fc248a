-- Orders and their audit trail. Written only by the group-commit workers of the order service's replicas. Tables and
-- columns are those of the SQLite file; the distribution key of both is the order's id.

-- One row an order, or the tombstone of one that was cancelled before it arrived (version 0, no contents). The row is
-- also the record of the CreateOrder that made it, and the lock of everything about the order: whoever judges a move
-- holds it. A row moves only along the order machine, its version by one a move, and final states absorb (invariant I11).
-- No index holds what a move changes, so a move costs no index where its page has room. Half a page is room: orders of
-- one batch lie together and move together, and a fuller page only scatters their versions over others (it measures larger).
create table orders (
    order_id      uuid   not null,
    tenant_id     text   not null,
    buyer_id      text,            -- a tombstone may not know
    state         text   not null,
    version       bigint not null, -- moves made; 0 for a tombstone
    fingerprint   text,            -- of the CreateOrder; null for a tombstone, like the next four
    price         text,            -- JSON: the snapshot that inventory gave when the stock was reserved
    total_minor   bigint,          -- its total, in minor units of the currency
    currency      text,            -- ISO 4217
    address       text,            -- JSON
    cancel_reason text   not null, -- empty unless CANCELLED
    created_at    bigint not null, -- microseconds since the Unix epoch
    updated_at    bigint not null,
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
) with (fillfactor = 50);

-- Lists go newest first, by buyer; an order's id sorts by the time of its minting. Lists by state alone walk the primary
-- key backwards: an index on the state would be written at every move of every order, for a list that operators ask for.
create index orders_buyer_ix on orders (tenant_id, buyer_id, order_id);

-- What was bought, by whom and at which price never changes (invariant I16). Moves do not name these columns, so they do
-- not pay for the trigger.
create function orders_contents_tr() returns trigger language plpgsql as $$
begin
    raise exception '%: what was bought never changes', tg_name;
end
$$;

create trigger orders_contents_tr
before update of order_id, tenant_id, buyer_id, fingerprint, price, total_minor, currency, address, created_at on orders
for each statement execute function orders_contents_tr();

-- The append-only audit trail: one row a move, numbered 1, 2, 3 within its order, without a gap (invariant I15). Each is
-- also an event in the outbox.
create table order_event (
    order_id   uuid   not null,
    version    bigint not null, -- the order's version after the move
    name       text   not null, -- the move
    from_state text,            -- null for the first
    to_state   text   not null,
    role       text   not null, -- who moved it
    reason     text   not null, -- may be empty
    request_id uuid,            -- the call that asked for it; null when an event did
    at         bigint not null, -- microseconds since the Unix epoch
    constraint order_event_pk primary key (order_id, version),
    constraint order_event_order_fk foreign key (order_id) references orders (order_id),
    constraint order_event_version_ck check (version >= 1 and (version = 1) = (from_state is null)),
    constraint order_event_role_ck check (role in ('SAGA', 'BUYER', 'OPERATOR', 'CARRIER', 'SYSTEM'))
);

create function order_event_append_only() returns trigger language plpgsql as $$
begin
    raise exception '%: the audit trail is append-only', tg_name;
end
$$;

create trigger order_event_update_tr before update on order_event
for each statement execute function order_event_append_only();

create trigger order_event_delete_tr before delete on order_event
for each statement execute function order_event_append_only();

create trigger order_event_truncate_tr before truncate on order_event
for each statement execute function order_event_append_only();
