//! `spillway saga`: see what drives the orders.

use std::fmt::Write;

use clap::{Args, Subcommand};
use spillway_contracts::orchestrator::v1::{
    GetSagaRequest, ListSagasRequest, ListSagasResponse, Saga, SagaState, SagaStep,
};

use super::{Context, Limit};
use crate::{
    cli::values,
    client::pages,
    output::{
        Failure,
        table::Table,
        words::{some, time, word},
    },
};

/// The commands about sagas.
#[derive(Debug, Subcommand)]
pub(crate) enum SagaCommand {
    /// List sagas, newest first
    List(List),
    /// Show a saga, step by step
    Get(Get),
}

/// Options of `saga list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those in this state, such as `parked`; may be given more than once
    #[arg(long = "state", value_name = "STATE", value_parser = values::saga_state)]
    states: Vec<SagaState>,
    #[command(flatten)]
    limit: Limit,
}

/// Options of `saga get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Which saga, by its id: the order's
    #[arg(value_name = "SAGA")]
    saga: String,
}

/// Does it.
pub(crate) async fn run(command: SagaCommand, context: &Context) -> Result<(), Failure> {
    match command {
        SagaCommand::List(list) => list.run(context).await,
        SagaCommand::Get(get) => get.run(context).await,
    }
}

// === impl List ===

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { states, limit } = self;
        let states: Vec<i32> = states.into_iter().map(i32::from).collect();
        let mut peer = context.platform.sagas()?;
        let (sagas, next_page_token) = pages(limit.limit, async |page_size, page_token| {
            let request = peer.ask(ListSagasRequest { states: states.clone(), page_size, page_token });
            let listed = peer.client.list_sagas(request).await;
            let page = peer.answer("the sagas cannot be listed", listed)?;
            Ok((page.sagas, page.next_page_token))
        })
        .await?;
        let answer = ListSagasResponse { sagas, next_page_token };
        context.output.answer(&answer, |answer| {
            let rows = answer.sagas.iter().map(row);
            let table = Table::new(["SAGA", "DOES", "STATE", "STARTED", "CHANGED", "WHY"]).rows(rows);
            limit.and_more(table.or("No sagas."), &answer.next_page_token)
        })
    }
}

fn row(saga: &Saga) -> [String; 6] {
    [
        saga.saga_id.clone(),
        saga.definition.clone(),
        state(saga),
        time(saga.create_time),
        time(saga.update_time),
        saga.reason.clone(),
    ]
}

// === impl Get ===

impl Get {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut peer = context.platform.sagas()?;
        let request = peer.ask(GetSagaRequest { saga_id: self.saga });
        let got = peer.client.get_saga(request).await;
        let answer = peer.answer("the saga cannot be shown", got)?;
        context.output.answer(&answer, |answer| show(&answer.saga.clone().unwrap_or_default()))
    }
}

fn show(saga: &Saga) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ok = writeln!(
        text,
        "saga     {}\ndoes     {} (version {})\nstate    {}\nbuyer    {}\nstarted  {}\nchanged  {}",
        saga.saga_id,
        saga.definition,
        saga.definition_version,
        state(saga),
        some(&saga.buyer_id),
        time(saga.create_time),
        time(saga.update_time),
    );
    if !saga.reason.is_empty() {
        let _ok = writeln!(text, "why      {}", saga.reason);
    }
    if saga.next_wakeup_time.is_some() {
        let _ok = writeln!(text, "next     {}", time(saga.next_wakeup_time));
    }
    let table =
        Table::new(["STEP", "KIND", "STATE", ">ATTEMPTS", ">TOOK", "LAST ERROR"]).rows(saga.steps.iter().map(step));
    let _ok = write!(text, "\n{}", table.or("It has not begun with its steps."));
    text
}

fn step(step: &SagaStep) -> [String; 6] {
    [
        step.name.clone(),
        word(step.kind().as_str_name(), "STEP_KIND_"),
        word(step.state().as_str_name(), "STEP_STATE_"),
        step.attempts.to_string(),
        took(step),
        step.last_error.clone(),
    ]
}

fn took(step: &SagaStep) -> String {
    use spillway_contracts::convert::from_timestamp;
    let (Some(start), Some(end)) = (step.start_time, step.end_time) else { return some("") };
    let took = from_timestamp(end).saturating_since(from_timestamp(start));
    format!("{} ms", took.as_millis())
}

fn state(saga: &Saga) -> String {
    word(saga.state().as_str_name(), "SAGA_STATE_")
}
