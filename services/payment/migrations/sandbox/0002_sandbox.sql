-- The journal of the sandbox provider: what a payment provider of its own would know. Written only by the sandbox.

-- Charges by the merchant's reference. Each is done once, however often it is asked for.
create table charge (
    reference  text    not null, -- the merchant's
    instrument text    not null, -- empty when voided before it arrived
    currency   text    not null, -- ISO 4217; empty like the instrument
    amount     integer not null, -- minor units
    state      text    not null,
    constraint charge_pk primary key (reference),
    constraint charge_state_ck check (state in ('AUTHORIZED', 'DECLINED', 'CAPTURED', 'CAPTURE_DECLINED', 'VOIDED'))
) strict, without rowid;

-- Money given back, by the merchant's reference for it. The sum is never more than the charge (I4).
create table payback (
    reference text    not null, -- the merchant's
    charge    text    not null,
    amount    integer not null, -- minor units
    constraint payback_pk primary key (reference),
    constraint payback_charge_fk foreign key (charge) references charge (reference),
    constraint payback_amount_ck check (amount > 0)
) strict, without rowid;

create index payback_charge_ix on payback (charge);
