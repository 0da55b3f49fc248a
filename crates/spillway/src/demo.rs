//! `spillway demo`: a flash sale on the real platform, with the proof at the end.

use std::{fmt, fs, io, io::Write, path::Path, time::Duration};

use hdrhistogram::Histogram;
use spillway_contracts::orchestrator::v1::{ListSagasRequest, SagaState, saga_service_client::SagaServiceClient};
use spillway_middleware::{Client, ClientConfig, Preset};
use spillway_runtime::{policies, shutdown};
use tokio::time::Instant;

use crate::{
    commands::dev::banner,
    config::{Peers, Settings},
    platform::{Platform, PlatformError},
    verify::{self, Places, VerifyError},
};

mod crowd;
mod echo;
mod seed;

/// Connections that the crowd shares. Each is served by one task; a few keep both cores busy.
const CONNECTIONS: u32 = 8;
/// How long sagas may take to come to rest once the crowd is gone (invariant I7).
const REST: Duration = Duration::from_secs(30);
/// Marks a data directory as the demo's own, which the next demo may empty.
const MARKER: &str = ".spillway-demo";

/// How big a sale.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many people want one.
    pub buyers: u32,
    /// How many there are.
    pub stock: u32,
    /// How many buyers are in the shop at a time.
    pub concurrency: u32,
    /// End when the sale is over, instead of staying up for a look around.
    pub exit: bool,
}

/// Why the demo could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The data directory is somebody's.
    #[error("{0} is not empty, and not a former demo's; choose another with --data-dir")]
    NotOurs(String),
    /// The platform could not start, or a server failed.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// Files, sockets or signals.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A call that must work failed.
    #[error("a call failed: {0}")]
    Call(#[from] tonic::Status),
    /// No connection.
    #[error("no connection: {0}")]
    Connect(#[from] tonic::transport::Error),
    /// An address is none.
    #[error(transparent)]
    Address(#[from] spillway_runtime::channel::BadAddress),
    /// The progress bar's template.
    #[error(transparent)]
    Template(#[from] indicatif::style::TemplateError),
    /// A part of the demo ended badly.
    #[error("a task ended badly: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// The catalogue's names.
    #[error(transparent)]
    Name(#[from] spillway_types::name::InvalidName),
    /// The catalogue's prices.
    #[error(transparent)]
    Money(#[from] spillway_types::money::MoneyError),
    /// The databases could not be judged.
    #[error("verify: {0}")]
    Verify(#[from] VerifyError),
    /// Sagas did not come to rest.
    #[error("{0} sagas are unfinished after {REST:?}")]
    Restless(usize),
}

/// Plays the sale on a platform of its own, in this process. Says whether everything was as it must be.
///
/// # Errors
/// When the demo could not be played to its end.
pub async fn run(settings: Settings, plan: Plan) -> Result<bool, DemoError> {
    let shutdown = shutdown::on_signal()?;
    let _ours = fresh(&settings.data.dir)?;
    let (mut stage, data) = (Stage::at(&settings, plan, seed::HOT.to_owned()), settings.data.dir.clone());
    let platform = Platform::start(settings).await?;
    let addresses = platform.addresses();
    stage.orchestrator = format!("http://{}", addresses.orchestrator);
    stage.inventory = format!("http://{}", addresses.inventory);
    let good = stage.play().await?;
    if plan.exit {
        platform.stop().await?;
    } else {
        say(&banner("embedded", addresses, &data.display().to_string()))?;
        platform.run(shutdown).await?;
    }
    Ok(good)
}

/// Plays the sale on the platform that runs where `settings` say, with an item of its own: it can be played again. Says
/// whether everything was as it must be.
///
/// # Errors
/// When the demo could not be played to its end.
pub async fn attach(settings: &Settings, plan: Plan) -> Result<bool, DemoError> {
    let hot = format!("{}-{:08X}", seed::HOT, rand::random::<u32>());
    say(&format!("On the platform that runs, {}:", settings.mode()))?;
    for (service, peers) in settings.places().named() {
        say(&format!("  {service:<12} {peers}"))?;
    }
    Stage::at(settings, plan, hot).play().await
}

/// Where the sale takes place.
struct Stage {
    plan: Plan,
    client: ClientConfig,
    orchestrator: String,
    inventory: String,
    databases: Places,
    /// The item that everybody wants.
    hot: String,
}

// === impl Stage ===

impl Stage {
    fn at(settings: &Settings, plan: Plan, hot: String) -> Self {
        let Peers { orchestrator, inventory, .. } = settings.places();
        let (client, databases) = (settings.client.clone(), Places::of(settings));
        Self { plan, client, orchestrator, inventory, databases, hot }
    }

    async fn play(self) -> Result<bool, DemoError> {
        let Self { plan, hot, .. } = &self;
        say("Stocking the shelves")?;
        seed::catalogue(&self.connect(&self.inventory)?, hot, plan.stock).await?;
        say(&format!("Sale: {} buyers for {} units of {hot}", plan.buyers, plan.stock))?;
        let doors = (0..CONNECTIONS).map(|_| self.connect(&self.orchestrator)).collect::<Result<Vec<_>, _>>()?;
        let sale = crowd::buy(&doors, hot, plan.buyers, plan.concurrency).await?;
        rest(&doors[0]).await?;
        say("The yardstick: as many bare tonic calls, nothing of ours around them")?;
        let echo = echo::measure(plan.buyers, plan.concurrency, CONNECTIONS).await?;
        let report = verify::run_on(self.databases.clone(), &verify::Options::default()).await?;
        say(&format!("{}\n{report}", Summary { plan: *plan, sale: &sale, echo: &echo }))?;
        let good = report.is_clean() && sale.failed.is_empty() && sale.sold == plan.stock.min(paying(plan.buyers));
        say(if good { "All is as it must be." } else { "NOT as it must be: see above." })?;
        Ok(good)
    }

    fn connect(&self, peers: &str) -> Result<Client, DemoError> {
        Ok(spillway_runtime::connect(peers, &self.client, &policies(), Preset::Edge)?)
    }
}

/// How many of the crowd have a card that works.
fn paying(buyers: u32) -> u32 {
    u32::try_from((0..buyers).filter(|buyer| crowd::pays(*buyer)).count()).unwrap_or(u32::MAX)
}

/// Empties the data directory, if it is the demo's own and no other demo uses it. It is ours while the file is open.
fn fresh(data: &Path) -> Result<fs::File, DemoError> {
    let marker = data.join(MARKER);
    if data.exists() && fs::read_dir(data)?.next().is_some() {
        // A marker that can be locked: a demo that is still up keeps its data.
        let ours = marker.exists() && fs::File::open(&marker)?.try_lock().is_ok();
        if !ours {
            return Err(DemoError::NotOurs(data.display().to_string()));
        }
        fs::remove_dir_all(data)?;
    }
    fs::create_dir_all(data)?;
    fs::write(&marker, "The next `spillway demo` empties this directory.\n")?;
    let lock = fs::File::open(marker)?;
    lock.try_lock().map_err(io::Error::from)?;
    Ok(lock)
}

/// Waits until no saga is under way.
async fn rest(door: &Client) -> Result<(), DemoError> {
    let mut sagas = SagaServiceClient::new(door.clone());
    let unfinished = [SagaState::Running, SagaState::Compensating, SagaState::Waiting, SagaState::Parked];
    let request = ListSagasRequest { states: unfinished.map(i32::from).to_vec(), ..ListSagasRequest::default() };
    let give_up = Instant::now() + REST;
    loop {
        let left = sagas.list_sagas(request.clone()).await?.into_inner().sagas.len();
        if left == 0 {
            return Ok(());
        }
        if Instant::now() > give_up {
            return Err(DemoError::Restless(left));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn say(text: &str) -> Result<(), DemoError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Microseconds from 1 to a minute, to three digits.
fn histogram() -> Histogram<u64> {
    let bounds = Histogram::new_with_bounds(1, 60_000_000, 3);
    #[expect(clippy::expect_used, reason = "the bounds are constants that the library allows")]
    bounds.expect("valid bounds")
}

fn note(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people, of far fewer than 2^52 calls")]
fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(f64::EPSILON)
}

/// What people want to know after a sale.
struct Summary<'a> {
    plan: Plan,
    sale: &'a crowd::Sale,
    echo: &'a echo::Echo,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, sale, echo } = self;
        writeln!(f, "\nsold      {:>8} of {}", sale.sold, plan.stock)?;
        writeln!(f, "refused   {:>8}", sale.refused.values().sum::<u32>())?;
        for (reason, count) in &sale.refused {
            writeln!(f, "          {count:>8} {reason}")?;
        }
        writeln!(f, "failed    {:>8}", sale.failed.values().sum::<u32>())?;
        for (reason, count) in &sale.failed {
            writeln!(f, "          {count:>8} {reason}")?;
        }
        let rate = per_second(sale.all.len(), sale.took);
        writeln!(f, "\ndecided   {rate:>8.0} orders a second, in {:.1} s", sale.took.as_secs_f64())?;
        writeln!(f, "bare call {:>8.0} calls a second (an order is {:.1} of them)", echo.rate, echo.rate / rate)?;
        writeln!(f, "\nwaited, ms      p50     p95     p99     max")?;
        for (name, histogram) in [("paid", &sale.paid), ("all", &sale.all), ("bare call", &echo.latency)] {
            write!(f, "  {name:<10}")?;
            for micros in [0.5, 0.95, 0.99, 1.0].map(|quantile| histogram.value_at_quantile(quantile)) {
                write!(f, " {:>4}.{:02}", micros / 1_000, micros % 1_000 / 10)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
