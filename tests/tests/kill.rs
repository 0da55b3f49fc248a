//! The real binary, killed again and again in the middle of a sale. Judged by a journal that the buyers keep themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it did"
)]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use spillway::{platform::Addresses, verify};
use spillway_testkit::{
    ports,
    process::{self, Process},
};
use spillway_tests::{
    crowd::{Crowd, HOT, Pace},
    shop::{Shop, at_rest, settings, until},
};

/// Units on the shelf.
const STOCK: i64 = 1_000;
/// Buyers in the shop.
const CROWD: Pace = Pace { places: 24, rest: Duration::ZERO, lot: STOCK };
/// How often the process is killed.
const KILLS: u32 = 8;
/// How long after a restart sagas may be under way (invariant I7).
const REST: Duration = Duration::from_secs(30);

struct Server {
    binary: PathBuf,
    args: Vec<String>,
}

impl Server {
    fn new(data: &Path, addresses: Addresses) -> Self {
        let Addresses { orchestrator, order, inventory, payment, fulfilment } = addresses;
        let mut args = vec!["dev".to_owned(), "--data-dir".to_owned(), data.display().to_string()];
        let services = [
            ("orchestrator", orchestrator),
            ("order", order),
            ("inventory", inventory),
            ("payment", payment),
            ("fulfilment", fulfilment),
        ];
        args.extend(services.iter().flat_map(|(name, at)| ["--set".to_owned(), format!("{name}.listen={at}")]));
        args.extend(["--set", "admin.listen="].map(str::to_owned));
        args.extend(["--set".to_owned(), "telemetry.log=warn".to_owned()]);
        Self { binary: process::build("spillway").unwrap(), args }
    }

    async fn start(&self) -> Process {
        Process::start(&self.binary, &self.args, "spillway is up").await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_killed_again_and_again_loses_nothing_and_sells_exactly_its_stock() {
    let data = tempfile::tempdir().unwrap();
    let [orchestrator, order, inventory, payment, fulfilment] =
        ports::free::<5>().unwrap().map(|port| ([127, 0, 0, 1], port).into());
    let addresses = Addresses { orchestrator, order, inventory, payment, fulfilment };
    let server = Server::new(data.path(), addresses);
    let mut running = server.start().await;
    let mut shop = Shop::at(addresses, &settings(data.path(), &[]).client);
    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut crowd = Crowd::open(&shop, CROWD).await;
    crowd.last_call();
    for kill in 1..=KILLS {
        // Some orders go through between two kills; the kill comes in the middle of others.
        crowd.more(rng.random_range(10..120)).await;
        tokio::time::sleep(Duration::from_micros(rng.random_range(0..5_000))).await;
        running.kill().await.unwrap();
        println!("kill {kill} after {} answers", crowd.answers());
        running = server.start().await;
    }
    crowd.sold_out().await;
    until("every saga has ended", REST, || at_rest(shop.clone())).await;
    let tally = crowd.check().await;
    println!("{tally:?}");
    let item = shop.item(HOT).await;
    assert_eq!((item.available, item.held, item.sold_unshipped), (0, 0, STOCK), "sold exactly to zero");
    assert_eq!(i64::try_from(tally.paid).unwrap(), STOCK, "each sold unit has a buyer who was told so");

    let ended = running.terminate(Duration::from_secs(30)).await.unwrap();
    assert!(ended.success(), "SIGTERM ends it in good order: {ended}");
    let report = verify::run(data.path()).await.unwrap();
    assert!(report.is_clean(), "{report}");
}
