//! The judgement of one command.

use std::{collections::BTreeMap, time::Duration};

use spillway_types::{Fault, OrderId, Reason, ShipmentId, Timestamp, WarehouseId};

use super::{
    Answer, CarrierReport, Command, Day, Once, Plan, PlanChange, PlanState, Planned, Shipment, ShipmentState,
    Warehouse,
    command::{CancelShipments, CreateWarehouse, PlanShipments, RecordCarrierEvent, UpdateWarehouse},
    planning::{self, Draft},
    shipment::{ShipmentEvent, Step},
};

/// Seconds in a day, as buyers are promised them.
const DAY: u64 = 24 * 60 * 60;

/// The rows that a batch has loaded, as earlier commands of the batch have left them.
pub trait View {
    /// A warehouse, if there is one.
    fn warehouse(&self, id: &WarehouseId) -> Option<&Warehouse>;
    /// Every warehouse, by name.
    fn warehouses(&self) -> Vec<&Warehouse>;
    /// How many parcels of a day a warehouse has to send.
    fn load(&self, warehouse: &WarehouseId, day: Day) -> u32;
    /// A plan, tombstone or recorded refusal, if there is one.
    fn plan(&self, order_id: OrderId) -> Option<&Plan>;
    /// A parcel, if there is one.
    fn shipment(&self, id: ShipmentId) -> Option<&Shipment>;
}

/// What a command changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Warehouses as they are afterwards.
    pub warehouses: BTreeMap<WarehouseId, Warehouse>,
    /// Parcels to send, by warehouse and day, as they are afterwards.
    pub loads: BTreeMap<(WarehouseId, Day), u32>,
    /// Plans as they are afterwards.
    pub plans: BTreeMap<OrderId, Plan>,
    /// Parcels as they are afterwards.
    pub shipments: BTreeMap<ShipmentId, Shipment>,
    /// Lines for the audit, and events for others.
    pub changes: Vec<PlanChange>,
    /// Lines for the journal of carriers' reports.
    pub reports: Vec<CarrierReport>,
}

/// An answer and what it changes. A refusal may have effects, too: recorded ones do.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What the caller hears.
    pub answer: Result<Answer, Fault>,
    /// What is saved before the caller hears it.
    pub effects: Effects,
}

/// Judges a command.
pub fn decide(view: &impl View, command: &Command, now: Timestamp) -> Decision {
    let mut desk = Desk { view, now, effects: Effects::default() };
    let answer = match command {
        Command::CreateWarehouse(once) => desk.create_warehouse(&once.body),
        Command::UpdateWarehouse(once) => desk.update_warehouse(&once.body),
        Command::Plan(plan) => desk.plan(plan),
        Command::Cancel(cancel) => desk.cancel(cancel),
        Command::Dispatch(order_id) => desk.dispatch(*order_id),
        Command::Record(once) => desk.record(once),
    };
    match answer {
        Err(Refusal::Unrecorded(fault)) => Decision { answer: Err(fault), effects: Effects::default() },
        Err(Refusal::Recorded(fault)) => Decision { answer: Err(fault), effects: desk.effects },
        Ok(answer) => Decision { answer: Ok(answer), effects: desk.effects },
    }
}

/// A "no", and whether it leaves a trace.
enum Refusal {
    Recorded(Fault),
    Unrecorded(Fault),
}

struct Desk<'a, V> {
    view: &'a V,
    now: Timestamp,
    effects: Effects,
}

// === impl Desk ===

impl<V: View> Desk<'_, V> {
    fn create_warehouse(&mut self, body: &CreateWarehouse) -> Result<Answer, Refusal> {
        let id = &body.warehouse_id;
        if self.view.warehouse(id).is_some() {
            let fault = Fault::new(Reason::AlreadyExists, format!("there is a warehouse {id} already"));
            return Err(fault.with("warehouse_id", id).into());
        }
        Ok(self.put_warehouse(Warehouse {
            warehouse_id: id.clone(),
            regions: body.regions.clone(),
            priority: body.priority,
            capacity_per_day: body.capacity_per_day,
            assortment: body.assortment.clone(),
            promised_days: body.promised_days,
            active: body.active,
            version: 1,
            created_at: self.now,
            updated_at: self.now,
        }))
    }

    fn update_warehouse(&mut self, body: &UpdateWarehouse) -> Result<Answer, Refusal> {
        let id = &body.warehouse_id;
        let known = self.view.warehouse(id).ok_or_else(|| Fault::not_found("warehouse", id))?;
        let updated = Warehouse {
            warehouse_id: id.clone(),
            regions: body.regions.clone().unwrap_or_else(|| known.regions.clone()),
            priority: body.priority.unwrap_or(known.priority),
            capacity_per_day: body.capacity_per_day.unwrap_or(known.capacity_per_day),
            assortment: body.assortment.clone().unwrap_or_else(|| known.assortment.clone()),
            promised_days: body.promised_days.unwrap_or(known.promised_days),
            active: body.active.unwrap_or(known.active),
            version: known.version + 1,
            created_at: known.created_at,
            updated_at: self.now,
        };
        Ok(self.put_warehouse(updated))
    }

    fn plan(&mut self, command: &PlanShipments) -> Result<Answer, Refusal> {
        if let Some(known) = self.view.plan(command.order_id) {
            return self.again(known, command);
        }
        let (view, today) = (self.view, Day::of(self.now));
        let load = |warehouse: &WarehouseId| view.load(warehouse, today);
        let draft = planning::draft(&command.lines, command.region, &view.warehouses(), load);
        if let Some(fault) = planning::refusal(&draft, command.region) {
            return Err(self.refuse(command, fault));
        }
        let shipments = self.shipments_of(command.order_id, &draft)?;
        for shipment in &shipments {
            self.add_load(shipment, 1)?;
        }
        let plan = Plan {
            fingerprint: Some(command.fingerprint.clone()),
            state: PlanState::Planned,
            parcels: u16::try_from(shipments.len()).map_err(|_| Fault::internal())?,
            explanation: draft.explanation,
            version: 1,
            ..Plan::tombstone(command.order_id, String::new(), self.now)
        };
        self.change(&plan, "PLAN", String::new());
        Ok(self.put(Planned { plan, shipments }))
    }

    fn shipments_of(&self, order_id: OrderId, draft: &Draft) -> Result<Vec<Shipment>, Fault> {
        let numbered = (0..=u16::MAX).zip(&draft.parcels);
        let shipments: Vec<_> = numbered
            .map(|(index, parcel)| Shipment {
                shipment_id: ShipmentId::of_order(order_id, index),
                order_id,
                warehouse_id: parcel.warehouse_id.clone(),
                lines: parcel.lines.clone(),
                state: ShipmentState::Planned,
                day: Day::of(self.now),
                promised_at: self.now.saturating_add(Duration::from_secs(u64::from(parcel.promised_days) * DAY)),
                tracking: String::new(),
                version: 1,
                created_at: self.now,
                updated_at: self.now,
            })
            .collect();
        // The contract's limit of lines is far below this.
        if shipments.len() == draft.parcels.len() { Ok(shipments) } else { Err(Fault::internal()) }
    }

    fn cancel(&mut self, command: &CancelShipments) -> Result<Answer, Refusal> {
        let Some(known) = self.view.plan(command.order_id) else {
            let plan = Plan::tombstone(command.order_id, command.reason.clone(), self.now);
            return Ok(self.put(Planned { plan, shipments: Vec::new() }));
        };
        let found = self.planned(known)?;
        match known.state {
            PlanState::Planned | PlanState::Dispatched if !found.is_past_hand_over() => {
                let mut plan = known.becoming(PlanState::Cancelled, self.now);
                plan.cancel_reason.clone_from(&command.reason);
                let shipments = self.step_all(&found.shipments, ShipmentEvent::Cancel);
                for shipment in &shipments {
                    self.add_load(shipment, -1)?;
                }
                self.change(&plan, "CANCEL", command.reason.clone());
                Ok(self.put(Planned { plan, shipments }))
            }
            PlanState::Planned
            | PlanState::Dispatched
            | PlanState::HandedOver
            | PlanState::Delivered
            | PlanState::Cancelled
            | PlanState::Refused => Ok(Answer::Plan(found)),
        }
    }

    fn dispatch(&mut self, order_id: OrderId) -> Result<Answer, Refusal> {
        let known = self.view.plan(order_id).ok_or_else(|| Fault::not_found("plan", order_id))?;
        let found = self.planned(known)?;
        match known.state {
            PlanState::Planned => {
                let plan = known.becoming(PlanState::Dispatched, self.now);
                let shipments = self.step_all(&found.shipments, ShipmentEvent::Dispatch);
                self.change(&plan, "DISPATCH", String::new());
                Ok(self.put(Planned { plan, shipments }))
            }
            PlanState::Dispatched | PlanState::HandedOver | PlanState::Delivered => Ok(Answer::Plan(found)),
            PlanState::Cancelled | PlanState::Refused => {
                Err(illegal("the plan was given up; place a new order", known.state.as_str()).into())
            }
        }
    }

    fn record(&mut self, once: &Once<RecordCarrierEvent>) -> Result<Answer, Refusal> {
        let RecordCarrierEvent { shipment_id, event, occurred_at, tracking } = &once.body;
        let known = self.view.shipment(*shipment_id).ok_or_else(|| Fault::not_found("shipment", shipment_id))?;
        let moved = match known.state.next(ShipmentEvent::Carrier(*event)) {
            Step::Illegal => {
                return Err(
                    illegal("no carrier can have a shipment that was not dispatched", known.state.as_str()).into()
                );
            }
            Step::Moves(state) => Some(known.becoming(state, self.now)),
            Step::Stays => None,
        };
        self.effects.reports.push(CarrierReport {
            order_id: known.order_id,
            shipment_id: *shipment_id,
            request_id: once.request_id,
            event: *event,
            occurred_at: occurred_at.unwrap_or(self.now),
            tracking: tracking.clone(),
            at: self.now,
        });
        let has_moved = moved.is_some();
        let mut shipment = moved.unwrap_or_else(|| known.clone());
        if let Some(tracking) = tracking.as_ref().filter(|tracking| **tracking != known.tracking) {
            shipment = Shipment { tracking: tracking.clone(), ..known.becoming(shipment.state, self.now) };
        }
        if shipment != *known {
            self.effects.shipments.insert(*shipment_id, shipment.clone());
        }
        if has_moved {
            self.advance(&shipment, event.as_str())?;
        }
        Ok(Answer::Shipment(shipment))
    }

    /// Takes the plan along with a parcel of it that has moved.
    fn advance(&mut self, moved: &Shipment, cause: &'static str) -> Result<(), Refusal> {
        let known = self.view.plan(moved.order_id).ok_or_else(Fault::internal)?;
        let parcels = self.planned(known)?.shipments;
        let states = parcels.iter().map(|parcel| match parcel.shipment_id == moved.shipment_id {
            true => moved.state,
            false => parcel.state,
        });
        let plan = known.becoming(known.state.advanced_by(states), self.now);
        self.change(&plan, cause, moved.shipment_id.to_string());
        self.effects.plans.insert(plan.order_id, plan);
        Ok(())
    }

    /// The answer to a plan whose key is known.
    fn again(&self, known: &Plan, command: &PlanShipments) -> Result<Answer, Refusal> {
        match (&known.fingerprint, &known.refusal) {
            (None, _) => Err(Fault::tombstone().into()),
            (Some(fingerprint), _) if *fingerprint != command.fingerprint => {
                Err(Fault::request_id_reused(command.order_id).into())
            }
            (Some(_), Some(refusal)) => Err(refusal.clone().into()),
            (Some(_), None) => Ok(Answer::Plan(self.planned(known)?)),
        }
    }

    /// Records a "no" to a plan under its key.
    fn refuse(&mut self, command: &PlanShipments, fault: Fault) -> Refusal {
        let fault = fault.recorded();
        let plan = Plan {
            fingerprint: Some(command.fingerprint.clone()),
            state: PlanState::Refused,
            refusal: Some(fault.clone()),
            ..Plan::tombstone(command.order_id, String::new(), self.now)
        };
        self.effects.plans.insert(command.order_id, plan);
        Refusal::Recorded(fault)
    }

    /// A plan with its parcels. A parcel that is missing is a slip in a store, and is answered rather than overlooked.
    fn planned(&self, plan: &Plan) -> Result<Planned, Fault> {
        let shipments = plan.shipment_ids().map(|id| self.view.shipment(id).cloned());
        let shipments = shipments.collect::<Option<Vec<_>>>().ok_or_else(Fault::internal)?;
        Ok(Planned { plan: plan.clone(), shipments })
    }

    /// The same parcels after `event`.
    fn step_all(&self, shipments: &[Shipment], event: ShipmentEvent) -> Vec<Shipment> {
        let stepped = shipments.iter().map(|shipment| match shipment.state.next(event) {
            Step::Moves(state) => shipment.becoming(state, self.now),
            Step::Stays | Step::Illegal => shipment.clone(),
        });
        stepped.collect()
    }

    /// Takes capacity of the parcel's warehouse and day, or gives it back.
    fn add_load(&mut self, shipment: &Shipment, parcels: i32) -> Result<(), Fault> {
        let key = (shipment.warehouse_id.clone(), shipment.day);
        let load = self.effects.loads.get(&key).copied().unwrap_or_else(|| self.view.load(&key.0, key.1));
        let load = load.checked_add_signed(parcels).ok_or_else(Fault::internal)?;
        self.effects.loads.insert(key, load);
        Ok(())
    }

    fn change(&mut self, plan: &Plan, cause: &'static str, detail: String) {
        let Plan { order_id, version, state, .. } = *plan;
        self.effects.changes.push(PlanChange { order_id, version, state, cause, detail, at: self.now });
    }

    fn put(&mut self, planned: Planned) -> Answer {
        self.effects.plans.insert(planned.plan.order_id, planned.plan.clone());
        let parcels = planned.shipments.iter().map(|shipment| (shipment.shipment_id, shipment.clone()));
        self.effects.shipments.extend(parcels);
        Answer::Plan(planned)
    }

    fn put_warehouse(&mut self, warehouse: Warehouse) -> Answer {
        self.effects.warehouses.insert(warehouse.warehouse_id.clone(), warehouse.clone());
        Answer::Warehouse(warehouse)
    }
}

/// The refusal of a command that the present state does not allow.
fn illegal(text: &str, state: &str) -> Fault {
    Fault::new(Reason::IllegalTransition, text).with("current_state", state)
}

// === impl Refusal ===

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Unrecorded(fault)
    }
}

#[cfg(test)]
mod tests;
