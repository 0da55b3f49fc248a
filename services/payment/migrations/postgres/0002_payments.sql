-- Payments and wallets. Written only by the group-commit workers of the payment service's replicas, and by their
-- settlers, which put a claim on what they take up. The first column of each primary key distributes the table. Every
-- moment is in microseconds since the Unix epoch; every amount is in minor units of its currency; 1 point is 1 of them.
--
-- Locks are taken in one order: payment, wallet, coupon, idempotency; within a table by key. Whoever reads or writes the
-- refunds of a payment holds the payment's row. Names are compared bytewise, so that their order is the same here, in
-- SQLite and in memory.

-- One row an order: its payment, the recorded refusal of one (DECLINED), or the tombstone of one that was voided before
-- it arrived (VOIDED, no fingerprint). This row decides whether an order goes forward or back. Invariant I4: refunded <=
-- captured <= authorised; what is captured is points plus method, all or nothing.
create table payment (
    payment_id         uuid   not null, -- the order's id
    state              text   not null,
    version            bigint not null, -- 0 where there never was a payment
    fingerprint        text,            -- of the Authorize; null for a tombstone, like the next three
    buyer_id           text,
    currency           text,            -- ISO 4217; of all amounts here
    amount             bigint,          -- price of the order before coupon and points
    coupon_code        text,
    discount           bigint not null, -- the coupon's share
    points             bigint not null, -- the points' share
    method             bigint not null, -- the provider's share
    instrument         text   not null, -- what pays the provider's share; may be empty
    provider_reference text   not null, -- the provider's name for it; empty while there is none
    decline            text,            -- JSON; the recorded refusal of the authorisation or of the capture
    void_reason        text   not null,
    authorized_at      bigint,
    claimed_points     bigint not null, -- given back, or promised to be
    claimed_method     bigint not null,
    refunded_points    bigint not null, -- given back
    refunded_method    bigint not null,
    created_at         bigint not null,
    updated_at         bigint not null,
    claimed_until      bigint not null default 0, -- until then one settler is at it; no such thing in SQLite, which has one
    constraint payment_pk primary key (payment_id),
    constraint payment_state_ck check (state in ('AUTHORIZING', 'AUTHORIZED', 'CAPTURING', 'CAPTURED', 'VOIDING',
                                                 'VOIDED', 'DECLINED', 'PARTIALLY_REFUNDED', 'REFUNDED')),
    constraint payment_asked_ck check ((fingerprint is null) = (buyer_id is null)
                                   and (fingerprint is null) = (currency is null)
                                   and (fingerprint is null) = (amount is null)),
    constraint payment_tenders_ck check (discount >= 0 and points >= 0 and method >= 0
                                     and (discount + points + method = amount
                                          or (version = 0 and discount + points + method = 0))),
    constraint payment_refunds_ck check (refunded_points between 0 and claimed_points and claimed_points <= points
                                     and refunded_method between 0 and claimed_method and claimed_method <= method),
    constraint payment_decline_ck check (decline is not null or state <> 'DECLINED')
) with (fillfactor = 85);

create index payment_newest_ix on payment (created_at, payment_id);
-- What the provider still has to be asked: first what nobody has taken up yet, then what was taken up longest ago. A row
-- that changes its state has to leave it or enter it, and so cannot stay within its page: a tenth more of write-ahead log
-- than without, and the one way to find a few open payments among millions.
create index payment_open_ix on payment (claimed_until, payment_id)
    where state in ('AUTHORIZING', 'CAPTURING', 'VOIDING');

-- Refunds: each is asked of the provider once, under its own reference.
create table refund (
    payment_id    uuid   not null,
    request_id    uuid   not null,
    currency      text   not null, -- ISO 4217
    points        bigint not null, -- given back in points
    method        bigint not null, -- given back at the provider
    state         text   not null,
    reason        text   not null,
    decline       text,            -- JSON; the provider's recorded refusal
    created_at    bigint not null,
    updated_at    bigint not null,
    claimed_until bigint not null default 0, -- as of a payment
    constraint refund_pk primary key (payment_id, request_id),
    constraint refund_payment_fk foreign key (payment_id) references payment (payment_id),
    constraint refund_state_ck check (state in ('PENDING', 'DONE', 'DECLINED')),
    constraint refund_amount_ck check (points >= 0 and method >= 0 and points + method > 0),
    constraint refund_decline_ck check ((decline is not null) = (state = 'DECLINED'))
) with (fillfactor = 85);

create index refund_open_ix on refund (claimed_until, payment_id, request_id) where state = 'PENDING';

-- Balances of a buyer's points. Invariant I17: the four accounts sum to zero, and each is the sum of its entries. Only
-- the key is indexed, and each page keeps room, so that a change of balance stays within its page.
create table wallet (
    buyer_id  text collate "C" not null,
    available bigint not null, -- points, like the next three
    held      bigint not null,
    issued    bigint not null, -- the house's side of what it gave: never positive
    spent     bigint not null,
    version   bigint not null,
    constraint wallet_pk primary key (buyer_id),
    constraint wallet_sum_ck check (available + held + issued + spent = 0),
    constraint wallet_signs_ck check (available >= 0 and held >= 0 and spent >= 0 and issued <= 0)
) with (fillfactor = 80);

-- The append-only journal behind the balances. The entries of a transfer sum to zero, and a transfer's id says why it
-- was made, so that nothing can be made twice.
create table wallet_entry (
    buyer_id    text collate "C" not null,
    transfer_id text collate "C" not null, -- grant:<request>, hold:<payment>, spend:<payment>, release:<payment>, refund:<payment>:<request>
    account     text collate "C" not null,
    points      bigint not null, -- change of the account's balance
    reason      text   not null,
    at          bigint not null,
    constraint wallet_entry_pk primary key (buyer_id, transfer_id, account),
    constraint wallet_entry_account_ck
        check (account in ('points:available', 'points:held', 'points:issued', 'points:spent')),
    constraint wallet_entry_points_ck check (points <> 0)
);

-- Coupons, each used at most once.
create table coupon (
    buyer_id   text collate "C" not null,
    code       text collate "C" not null,
    currency   text   not null, -- ISO 4217
    discount   bigint not null,
    minimum    bigint not null, -- least price it is good for
    expires_at bigint,          -- null for never
    state      text   not null,
    payment_id uuid,            -- the payment it is held or spent for
    version    bigint not null,
    constraint coupon_pk primary key (buyer_id, code),
    constraint coupon_state_ck check (state in ('AVAILABLE', 'HELD', 'SPENT')),
    constraint coupon_payment_ck check ((payment_id is null) = (state = 'AVAILABLE')),
    constraint coupon_amounts_ck check (discount > 0 and minimum >= 0)
) with (fillfactor = 85);
