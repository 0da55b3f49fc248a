-- The ledger: what there is of each SKU, what is promised to whom, and every movement between. Written only by the
-- group-commit worker of the inventory service.

-- Balances of a SKU. Invariant I1: on_hand = available + held + sold_unshipped, none negative, and the movements of a
-- SKU sum to its balances.
create table item (
    sku            text    not null,
    title          text    not null,
    currency       text    not null, -- ISO 4217
    unit_price     integer not null, -- minor units of the currency
    on_hand        integer not null, -- units in the house
    available      integer not null, -- units that may be promised
    held           integer not null, -- units promised, not paid
    sold_unshipped integer not null, -- units paid, still in the house
    version        integer not null,
    created_at     integer not null, -- microseconds since the Unix epoch
    updated_at     integer not null,
    constraint item_pk primary key (sku),
    constraint item_balances_ck check (
        on_hand = available + held + sold_unshipped and available >= 0 and held >= 0 and sold_unshipped >= 0
    )
) strict, without rowid;

-- One row an order: its promise, the recorded refusal of one (REFUSED), or the tombstone of one that was released
-- before it arrived (RELEASED, no fingerprint). Each promise reaches exactly one end (invariant I2).
create table reservation (
    order_id    text    not null,
    buyer_id    text,             -- null for a tombstone
    fingerprint text,             -- of the Reserve; null for a tombstone
    state       text    not null,
    expires_at  integer,          -- microseconds since the Unix epoch; only while HELD
    refusal     text,             -- JSON; only for REFUSED
    version     integer not null, -- 0 where there never was a promise
    created_at  integer not null,
    updated_at  integer not null,
    constraint reservation_pk primary key (order_id),
    constraint reservation_state_ck check (state in ('HELD', 'PINNED', 'CONFIRMED', 'RELEASED', 'EXPIRED', 'REFUSED')),
    constraint reservation_expiry_ck check ((expires_at is not null) = (state = 'HELD')),
    constraint reservation_refusal_ck check ((refusal is not null) = (state = 'REFUSED'))
) strict;

create index reservation_lapsing_ix on reservation (expires_at) where state = 'HELD';

-- What a promise is made of, at the prices of its moment.
create table reservation_line (
    order_id   text    not null,
    sku        text    not null,
    title      text    not null,
    quantity   integer not null, -- units promised
    confirmed  integer not null, -- units sold in the end
    currency   text    not null, -- ISO 4217
    unit_price integer not null, -- minor units of the currency
    constraint reservation_line_pk primary key (order_id, sku),
    constraint reservation_line_quantity_ck check (quantity > 0 and confirmed between 0 and quantity)
) strict, without rowid;

-- The append-only journal: by how many units each balance changed, and why.
create table movement (
    position       integer not null,
    sku            text    not null,
    kind           text    not null,
    order_id       text,             -- the promise behind it, if there is one
    on_hand        integer not null, -- change in units, like the next three
    available      integer not null,
    held           integer not null,
    sold_unshipped integer not null,
    at             integer not null, -- microseconds since the Unix epoch
    constraint movement_pk primary key (position),
    constraint movement_kind_ck check (kind in ('ADJUST', 'HOLD', 'CONFIRM', 'RELEASE', 'EXPIRE'))
) strict;

create index movement_sku_ix on movement (sku);
