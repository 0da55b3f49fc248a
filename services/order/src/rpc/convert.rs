//! The domain as messages, and enums back.

use spillway_contracts::{
    convert::{to_money, to_timestamp},
    order::v1 as pb,
    types::v1 as shared,
};

use crate::domain::{Address, Entry, Move, Order, Price, Role, State};

pub(super) fn order(order: Order) -> pb::Order {
    let (price, address) = order.contents.map(|contents| (contents.price, contents.address)).unzip();
    pb::Order {
        order_id: order.order_id.to_string(),
        tenant_id: order.tenant_id.into(),
        buyer_id: order.buyer_id.map(String::from).unwrap_or_default(),
        state: state(order.state).into(),
        version: order.version,
        price: price.map(self::price),
        shipping_address: address.map(self::address),
        cancel_reason: order.cancel_reason,
        create_time: Some(to_timestamp(order.created_at)),
        update_time: Some(to_timestamp(order.updated_at)),
    }
}

pub(super) fn event(entry: Entry) -> pb::OrderEvent {
    pb::OrderEvent {
        order_id: entry.order_id.to_string(),
        version: entry.version,
        name: entry.step.as_str().to_owned(),
        from_state: entry.from_state.map_or(pb::OrderState::Unspecified, state).into(),
        to_state: state(entry.to_state).into(),
        actor_role: role(entry.role).into(),
        reason: entry.reason,
        occur_time: Some(to_timestamp(entry.at)),
        buyer_id: entry.buyer_id.map(String::from).unwrap_or_default(),
    }
}

/// What a follower hears of a tombstone, which has no event of its own: version 0, since it is no move.
pub(super) fn tombstone_event(tombstone: &Order) -> pb::OrderEvent {
    pb::OrderEvent {
        order_id: tombstone.order_id.to_string(),
        version: tombstone.version,
        name: Move::Cancel.as_str().to_owned(),
        from_state: pb::OrderState::Unspecified.into(),
        to_state: state(tombstone.state).into(),
        actor_role: pb::ActorRole::Saga.into(),
        reason: tombstone.cancel_reason.clone(),
        occur_time: Some(to_timestamp(tombstone.created_at)),
        buyer_id: tombstone.buyer_id.clone().map(String::from).unwrap_or_default(),
    }
}

fn price(price: Price) -> shared::PriceSnapshot {
    let lines = price.lines.into_iter().map(|line| shared::PricedLine {
        sku: line.sku.into(),
        title: line.title,
        quantity: line.quantity,
        unit_price: Some(to_money(line.unit_price)),
        line_total: Some(to_money(line.line_total)),
    });
    shared::PriceSnapshot {
        lines: lines.collect(),
        goods_total: Some(to_money(price.goods_total)),
        shipping: Some(to_money(price.shipping)),
        discount: Some(to_money(price.discount)),
        total: Some(to_money(price.total)),
    }
}

fn address(address: Address) -> shared::Address {
    let Address { recipient, region, lines, postal_code, city } = address;
    shared::Address { recipient, region, lines, postal_code, city }
}

/// The state of a message; `None` for "not said".
pub(super) fn parse_state(given: pb::OrderState) -> Option<State> {
    State::ALL.into_iter().find(|candidate| state(*candidate) == given)
}

/// The role of a message; `None` for "not said".
pub(super) fn parse_role(given: pb::ActorRole) -> Option<Role> {
    Role::ALL.into_iter().find(|candidate| role(*candidate) == given)
}

const fn state(state: State) -> pb::OrderState {
    match state {
        State::Pending => pb::OrderState::Pending,
        State::AwaitingPayment => pb::OrderState::AwaitingPayment,
        State::Paid => pb::OrderState::Paid,
        State::Fulfilling => pb::OrderState::Fulfilling,
        State::Shipped => pb::OrderState::Shipped,
        State::Delivered => pb::OrderState::Delivered,
        State::Completed => pb::OrderState::Completed,
        State::Cancelled => pb::OrderState::Cancelled,
        State::Refunding => pb::OrderState::Refunding,
        State::Refunded => pb::OrderState::Refunded,
        State::Returning => pb::OrderState::Returning,
        State::Returned => pb::OrderState::Returned,
    }
}

const fn role(role: Role) -> pb::ActorRole {
    match role {
        Role::Saga => pb::ActorRole::Saga,
        Role::Buyer => pb::ActorRole::Buyer,
        Role::Operator => pb::ActorRole::Operator,
        Role::Carrier => pb::ActorRole::Carrier,
        Role::System => pb::ActorRole::System,
    }
}
