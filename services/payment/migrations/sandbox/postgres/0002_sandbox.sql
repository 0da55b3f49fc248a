-- The journal of the sandbox provider: what a payment provider of its own would know. Written only by the sandboxes of
-- the payment service's replicas, which together play one company. Locks are taken on charges, by reference; whoever
-- reads or writes the paybacks of a charge holds the charge's row.

-- Charges by the merchant's reference. Each is done once, however often it is asked for.
create table charge (
    reference  text collate "C" not null, -- the merchant's
    instrument text   not null, -- empty when voided before it arrived
    currency   text   not null, -- ISO 4217
    amount     bigint not null, -- minor units
    state      text   not null,
    constraint charge_pk primary key (reference),
    constraint charge_state_ck check (state in ('AUTHORIZED', 'DECLINED', 'CAPTURED', 'CAPTURE_DECLINED', 'VOIDED'))
) with (fillfactor = 85);

-- Money given back, by the merchant's reference for it. The sum is never more than the charge (I4).
create table payback (
    charge    text collate "C" not null,
    reference text collate "C" not null, -- the merchant's
    amount    bigint not null, -- minor units
    constraint payback_pk primary key (charge, reference),
    constraint payback_charge_fk foreign key (charge) references charge (reference),
    constraint payback_amount_ck check (amount > 0)
);
