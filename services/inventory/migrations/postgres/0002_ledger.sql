-- The ledger: what there is of each SKU, what is promised to whom, and every movement between. Written only by the
-- group-commit workers of the inventory service's replicas, which lock rows in this order: reservation, item.

-- Balances of a SKU. Invariant I1: on_hand = available + held + sold_unshipped, none negative, and the movements of a
-- SKU sum to its balances. A hot one is updated with every batch; no index but the key, and room in each page, keep
-- that within the page.
create table item (
    sku            text   not null collate "C",
    title          text   not null,
    currency       text   not null, -- ISO 4217
    unit_price     bigint not null, -- minor units of the currency
    on_hand        bigint not null, -- units in the house
    available      bigint not null, -- units that may be promised
    held           bigint not null, -- units promised, not paid
    sold_unshipped bigint not null, -- units paid, still in the house
    version        bigint not null,
    created_at     bigint not null, -- microseconds since the Unix epoch
    updated_at     bigint not null,
    constraint item_pk primary key (sku),
    constraint item_balances_ck check (
        on_hand = available + held + sold_unshipped and available >= 0 and held >= 0 and sold_unshipped >= 0
    )
) with (fillfactor = 80);

-- One row an order: its promise, the recorded refusal of one (REFUSED), or the tombstone of one that was released
-- before it arrived (RELEASED, no fingerprint). Each promise reaches exactly one end (invariant I2).
create table reservation (
    order_id    uuid   not null,
    buyer_id    text,            -- null for a tombstone
    fingerprint text,            -- of the Reserve; null for a tombstone
    state       text   not null,
    expires_at  bigint,          -- microseconds since the Unix epoch; only while HELD
    refusal     text,            -- JSON; only for REFUSED
    version     bigint not null, -- 0 where there never was a promise
    created_at  bigint not null,
    updated_at  bigint not null,
    constraint reservation_pk primary key (order_id),
    constraint reservation_state_ck check (state in ('HELD', 'PINNED', 'CONFIRMED', 'RELEASED', 'EXPIRED', 'REFUSED')),
    constraint reservation_expiry_ck check ((expires_at is not null) = (state = 'HELD')),
    constraint reservation_refusal_ck check ((refusal is not null) = (state = 'REFUSED'))
) with (fillfactor = 85);

-- Only HELD rows have a time, and a pinned one never gets any: its end changes nothing that this index reads.
create index reservation_lapsing_ix on reservation (expires_at) where expires_at is not null;

-- What a promise is made of, at the prices of its moment. Locked with its reservation.
create table reservation_line (
    order_id   uuid   not null,
    sku        text   not null collate "C",
    title      text   not null,
    quantity   bigint not null, -- units promised
    confirmed  bigint not null, -- units sold in the end
    currency   text   not null, -- ISO 4217
    unit_price bigint not null, -- minor units of the currency
    constraint reservation_line_pk primary key (order_id, sku),
    constraint reservation_line_quantity_ck check (quantity > 0 and confirmed between 0 and quantity)
) with (fillfactor = 85);

-- The append-only journal: by how many units each balance changed, and why.
create table movement (
    sku            text   not null collate "C",
    position       bigint not null generated always as identity,
    kind           text   not null,
    order_id       uuid,            -- the promise behind it, if there is one
    on_hand        bigint not null, -- change in units, like the next three
    available      bigint not null,
    held           bigint not null,
    sold_unshipped bigint not null,
    at             bigint not null, -- microseconds since the Unix epoch
    constraint movement_pk primary key (sku, position),
    constraint movement_kind_ck check (kind in ('ADJUST', 'HOLD', 'CONFIRM', 'RELEASE', 'EXPIRE'))
);
