//! The domain as messages.

use spillway_contracts::{
    convert::{to_money, to_timestamp},
    inventory::v1 as pb,
};

use crate::domain::{Item, Line, Reservation, State};

pub(super) fn item(item: Item) -> pb::Item {
    pb::Item {
        sku: item.sku.into(),
        title: item.title,
        price: Some(to_money(item.unit_price)),
        on_hand: item.on_hand,
        available: item.available,
        held: item.held,
        sold_unshipped: item.sold_unshipped,
        version: item.version,
        create_time: Some(to_timestamp(item.created_at)),
        update_time: Some(to_timestamp(item.updated_at)),
    }
}

pub(super) fn reservation(reservation: Reservation) -> pb::Reservation {
    pb::Reservation {
        reservation_id: reservation.order_id.to_string(),
        buyer_id: reservation.buyer_id.map(String::from).unwrap_or_default(),
        state: state(reservation.state).into(),
        lines: reservation.lines.into_iter().map(line).collect(),
        expire_time: reservation.expires_at.map(to_timestamp),
        version: reservation.version,
        create_time: Some(to_timestamp(reservation.created_at)),
        update_time: Some(to_timestamp(reservation.updated_at)),
    }
}

fn line(line: Line) -> pb::ReservationLine {
    pb::ReservationLine {
        sku: line.sku.into(),
        title: line.title,
        quantity: line.quantity,
        confirmed_quantity: line.confirmed,
        unit_price: Some(to_money(line.unit_price)),
    }
}

/// A refused promise holds nothing, like one that was released; who asks Reserve again hears why.
const fn state(state: State) -> pb::ReservationState {
    match state {
        State::Held => pb::ReservationState::Held,
        State::Pinned => pb::ReservationState::Pinned,
        State::Confirmed => pb::ReservationState::Confirmed,
        State::Released | State::Refused => pb::ReservationState::Released,
        State::Expired => pb::ReservationState::Expired,
    }
}
