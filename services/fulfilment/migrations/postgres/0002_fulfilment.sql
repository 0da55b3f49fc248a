-- Fulfilment: the warehouses, which of them sends what for each order, and what carriers say about it. Written only by
-- the group-commit workers of the fulfilment service's replicas. The first column of each primary key distributes the
-- table. Every moment is in microseconds since the Unix epoch.
--
-- Locks are taken in one order: warehouse, shipment_plan, warehouse_load; within a table by key. Whoever writes parcels,
-- changes or reports of an order holds the row of its plan.

-- The places that parcels leave from. Compared bytewise, so that every list has the order that SQLite gives it.
create table warehouse (
    warehouse_id     text collate "C" not null,
    regions          text    not null, -- JSON array: `*`, `EU`, or ISO 3166-1 alpha-2 codes
    priority         integer not null, -- the lower number is asked first
    capacity_per_day bigint  not null, -- parcels a UTC day; 0 is no limit
    assortment       text    not null, -- JSON array of SKUs; empty is everything
    promised_days    bigint  not null,
    active           integer not null, -- 1 takes part in new plans
    version          bigint  not null,
    created_at       bigint  not null,
    updated_at       bigint  not null,
    constraint warehouse_pk primary key (warehouse_id),
    constraint warehouse_active_ck check (active in (0, 1)),
    constraint warehouse_capacity_ck check (capacity_per_day >= 0 and promised_days >= 0)
);

-- How many parcels a warehouse has to send of those that were planned on a day: always the number of its shipments of
-- that day which are not cancelled, since both are written in one transaction. A plan locks the rows of its day before it
-- counts, so that no two replicas give away the same room. Few rows, each rewritten by every batch: most of a page stays
-- free for versions that are soon dead.
create table warehouse_load (
    warehouse_id text collate "C" not null,
    day          bigint not null, -- UTC days since 1970-01-01
    parcels      bigint not null,
    constraint warehouse_load_pk primary key (warehouse_id, day),
    constraint warehouse_load_parcels_ck check (parcels >= 0)
) with (fillfactor = 30);

-- One row an order: its plan, the recorded refusal of one (REFUSED), or the tombstone of one that was cancelled before it
-- arrived (CANCELLED, no fingerprint). Each plan reaches at most one end (invariant I2).
create table shipment_plan (
    order_id      uuid    not null,
    fingerprint   text,            -- of the PlanShipments; null for a tombstone
    state         text    not null, -- the least advanced of its parcels
    parcels       integer not null, -- 0 for a tombstone or a refusal
    explanation   text    not null, -- why it was split like this, for people
    refusal       text,            -- JSON; only for REFUSED
    cancel_reason text    not null, -- empty while it was not given up
    version       bigint  not null, -- 0 where there never was a parcel
    created_at    bigint  not null,
    updated_at    bigint  not null,
    constraint shipment_plan_pk primary key (order_id),
    constraint shipment_plan_state_ck check (
        state in ('PLANNED', 'DISPATCHED', 'HANDED_OVER', 'DELIVERED', 'CANCELLED', 'REFUSED')
    ),
    constraint shipment_plan_refusal_ck check ((refusal is not null) = (state = 'REFUSED')),
    constraint shipment_plan_parcels_ck check ((parcels > 0) = (version > 0))
) with (fillfactor = 85);

-- The parcels of a plan. Their ids are derived from the order's, so that planning again names the same ones.
create table shipment (
    order_id     uuid   not null,
    shipment_id  uuid   not null,
    warehouse_id text collate "C" not null,
    lines        text   not null, -- JSON array of [SKU, pieces]; never changes
    state        text   not null,
    day          bigint not null, -- whose capacity it takes: UTC days since 1970-01-01
    promised_at  bigint not null,
    tracking     text   not null, -- the carrier's number; empty until there is one
    version      bigint not null,
    created_at   bigint not null,
    updated_at   bigint not null,
    constraint shipment_pk primary key (order_id, shipment_id),
    constraint shipment_state_ck check (
        state in ('PLANNED', 'DISPATCHED', 'HANDED_OVER', 'DELIVERED', 'CANCELLED', 'LOST', 'RECEIVED')
    )
) with (fillfactor = 85);

-- Carriers and listings know a parcel by its own id. It never changes, so updates stay within their page all the same.
create index shipment_id_ix on shipment (shipment_id);

-- Append-only audit of a plan, a row a version, written with the change; each is also an event (invariant I15).
create table plan_change (
    order_id uuid   not null,
    version  bigint not null, -- 1, 2, 3 and so on without a gap
    state    text   not null, -- the plan's after the change
    cause    text   not null, -- PLAN, CANCEL, DISPATCH, or what a carrier reported
    detail   text   not null, -- the reason given, or the parcel that it was about
    at       bigint not null,
    constraint plan_change_pk primary key (order_id, version)
);

-- Append-only journal of what carriers have said, also when it was late and changed nothing.
create table carrier_report (
    order_id    uuid   not null,
    request_id  uuid   not null,
    shipment_id uuid   not null,
    event       text   not null,
    occurred_at bigint not null, -- by the carrier's clock
    tracking    text,            -- null when the report had none
    at          bigint not null, -- when we heard of it
    constraint carrier_report_pk primary key (order_id, request_id),
    constraint carrier_report_event_ck check (event in ('PICKED_UP', 'IN_TRANSIT', 'DELIVERED', 'LOST', 'RETURNED'))
);
