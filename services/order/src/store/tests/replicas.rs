//! Two replicas on one database: what one decides, the other finds; and both hear of it.

use spillway_storage::{Session, Store, database::Database, group_commit::Totals, postgres};
use spillway_testkit::proxy::{self, Direction, Proxy};
use tokio::time::{Instant, sleep, timeout};

use super::{
    super::{
        announcing::Audience,
        hub::Hub,
        postgres::{PgStore, ends},
    },
    house::{Backend, Shop},
    *,
};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(10);

/// A replica whose transactions the test conducts.
async fn slow_replica(shop: &Shop) -> (PgStore, postgres::Database) {
    let Database::Postgres(server) = &shop.database else { panic!("replicas share a server") };
    (ends(server, Audience::local(Hub::new(1))).0, server.clone())
}

/// Decides and saves, and leaves the transaction open.
async fn hold_open(replica: &mut PgStore, commands: &[Command]) {
    replica.session().begin().await.unwrap();
    let mut rows = replica.load(commands).await.unwrap();
    let now = replica.session().now().await.unwrap();
    for command in commands {
        Orders::decide(&mut rows, command, now).unwrap();
    }
    replica.save(&rows).await.unwrap();
}

/// Until somebody waits for a lock.
async fn somebody_waits(server: &postgres::Database) {
    let waiting =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let begun = Instant::now();
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(server.readers()).await.unwrap() == 0 {
        assert!(begun.elapsed() < LONG, "nobody waits for the other replica");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn whoever_commits_a_new_order_or_tombstone_first_decides_for_both() {
    let house = House::new(Backend::Postgres).await;
    let shop = house.open().await;
    let (mut rival, server) = slow_replica(&shop).await;
    let (order, other_body, buried, twice) = (fresh_id(), fresh_id(), fresh_id(), fresh_id());
    let first = [created(order), created(other_body), moved(buried, Move::Cancel), moved(twice, Move::Cancel)];

    hold_open(&mut rival, &first).await;
    let race = async {
        somebody_waits(&server).await;
        rival.session().commit().await.unwrap();
    };
    let asked = join_all([
        shop.ask(created(order)),
        shop.ask(Command::Create(create(other_body, 3))),
        shop.ask(created(buried)),
        shop.ask(moved(twice, Move::Cancel)),
    ]);
    let (answers, ()) = tokio::join!(asked, race);

    let [same, reused, late, again] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(same.as_ref().unwrap().version, 1, "the order is there, as it was asked for");
    assert_eq!(reused.as_ref().unwrap_err().reason, Reason::RequestIdReused);
    assert_eq!(late, &Err(Fault::tombstone()));
    assert!(again.as_ref().unwrap().is_tombstone());
    let Totals { conflicts, .. } = shop.committer.totals();
    assert_eq!(conflicts, 1, "the batch met the other replica's keys, and was decided again");
    assert_eq!(shop.moves(order).await, [(1, Move::Create)], "one of two has an effect");
    assert!(shop.moves(buried).await.is_empty());
}

#[tokio::test]
async fn a_batch_waits_for_the_rows_that_another_replica_moves_and_sees_them_moved() {
    let house = House::new(Backend::Postgres).await;
    let shop = house.open().await;
    let (mut rival, server) = slow_replica(&shop).await;
    let id = fresh_id();
    shop.ask(created(id)).await.unwrap();

    hold_open(&mut rival, &[moved(id, Move::Pay)]).await;
    let race = async {
        somebody_waits(&server).await;
        rival.session().commit().await.unwrap();
    };
    // Decided on what stood before, it would cancel a paid order.
    let (cancelled, ()) = tokio::join!(shop.ask(moved(id, Move::Cancel)), race);
    let found = cancelled.unwrap();
    assert_eq!((found.state, found.version), (State::Paid, 2));
    assert_eq!(shop.committer.totals().conflicts, 0, "a lock is no conflict");
    assert_eq!(shop.moves(id).await, [(1, Move::Create), (2, Move::Pay)]);
}

#[tokio::test]
async fn two_replicas_that_race_for_everything_agree_on_everything() {
    let house = House::new(Backend::Postgres).await;
    let (here, there) = (house.open().await, house.open().await);
    let mut rounds = 0;
    let mut ids = Vec::new();
    while here.committer.totals().conflicts + there.committer.totals().conflicts < 3 {
        rounds += 1;
        assert!(rounds < 500, "two replicas never met in {rounds} rounds");
        let round: Vec<_> = (0..8).map(|_| fresh_id()).collect();
        let forward = join_all(round.iter().map(|id| here.ask(created(*id))));
        let back = join_all(round.iter().rev().map(|id| there.ask(moved(*id, Move::Cancel))));
        let (forward, back) = tokio::join!(forward, back);
        for ((id, forward), back) in round.iter().zip(forward).zip(back.into_iter().rev()) {
            let (stands, back) = (here.reader.order(*id).await.unwrap().unwrap(), back.unwrap());
            assert_eq!((stands.state, &stands), (State::Cancelled, &back), "round {rounds}");
            assert_eq!(forward.is_err(), stands.is_tombstone(), "round {rounds}: {forward:?}");
        }
        ids.extend(round);
    }
    for id in ids {
        let moves = there.moves(id).await;
        assert!(moves.is_empty() || moves == [(1, Move::Create), (2, Move::Cancel)], "{id}: {moves:?}");
    }
}

#[tokio::test]
async fn news_that_two_replicas_are_given_at_once_has_one_effect() {
    let house = House::new(Backend::Postgres).await;
    let (here, there) = (house.open().await, house.open().await);
    for round in 0..20 {
        let id = fresh_id();
        here.ask(created(id)).await.unwrap();
        here.ask(moved(id, Move::Pay)).await.unwrap();
        let piece = |progress| News { event_id: EventId::random(), order_id: id, progress };
        let news = vec![piece(Progress::Dispatched), piece(Progress::Delivered)];
        let mut reversed = news.clone();
        reversed.reverse();
        tokio::join!(here.follow(news), there.follow(reversed));
        let path = [Move::Create, Move::Pay, Move::Fulfil, Move::Ship, Move::Deliver];
        assert_eq!(there.moves(id).await, (1..).zip(path).collect::<Vec<_>>(), "round {round}");
    }
}

#[tokio::test]
async fn followers_hear_of_what_another_replica_commits() {
    let house = House::new(Backend::Postgres).await;
    let (here, there) = (house.open().await, house.open().await);
    let listens = |shop: &Shop| shop.hints.as_ref().unwrap().is_listening();
    let begun = Instant::now();
    while !(listens(&here) && listens(&there)) {
        assert!(begun.elapsed() < LONG, "the replicas do not listen");
        sleep(Duration::from_millis(5)).await;
    }
    let mut delays = Vec::new();
    for _ in 0..50 {
        let id = fresh_id();
        let mut follower = there.hub.follow(id).unwrap();
        here.ask(created(id)).await.unwrap();
        let committed = Instant::now();
        timeout(LONG, follower.moved()).await.unwrap();
        delays.push(committed.elapsed());
        assert_eq!(there.reader.order(id).await.unwrap().unwrap().version, 1, "what is heard of is there");
    }
    delays.sort();
    println!("heard of after {:?} (median), {:?} (at most)", delays[25], delays[49]);
    // The last ones may not be counted yet.
    let (told, heard) = (here.hints.as_ref().unwrap().totals(), there.hints.as_ref().unwrap().totals());
    assert!(delays[25] < Duration::from_millis(200), "most are hinted, not swept: {delays:?}");
    assert!(told.told >= 40 && told.dropped == 0 && heard.heard >= 40, "{told:?}, {heard:?}");
}

#[tokio::test]
async fn followers_hear_of_another_replica_also_when_hints_do_not_get_through() {
    let house = House::new(Backend::Postgres).await;
    let here = house.open().await;
    let (mut mute, _) = slow_replica(&here).await;
    for _ in 0..5 {
        let id = fresh_id();
        let mut follower = here.hub.follow(id).unwrap();
        hold_open(&mut mute, &[created(id)]).await;
        mute.session().commit().await.unwrap();
        timeout(LONG, follower.moved()).await.unwrap();
    }
    let totals = here.hints.as_ref().unwrap().totals();
    assert_eq!((totals.swept, totals.heard), (5, 0), "{totals:?}");
}

#[tokio::test]
async fn a_replica_that_was_cut_off_without_a_word_notices_and_hears_again_when_the_network_is_back() {
    let house = House::new(Backend::Postgres).await;
    let (address, url) = house.server();
    let network = Proxy::to(address).await.unwrap();
    let far = House::at(&url.replace(&address.port().to_string(), &network.address().port().to_string()));
    let (here, there) = (house.open().await, far.open().await);
    let begun = Instant::now();
    while !there.hints.as_ref().unwrap().is_listening() {
        assert!(begun.elapsed() < LONG, "the replica does not listen");
        sleep(Duration::from_millis(5)).await;
    }
    // Nothing is closed; answers just do not come any more.
    network.set(Direction::Down, proxy::Fault::Hole);
    let id = fresh_id();
    let mut follower = there.hub.follow(id).unwrap();
    let cut = Instant::now();
    here.ask(created(id)).await.unwrap();
    while there.hints.as_ref().unwrap().is_listening() {
        assert!(cut.elapsed() < LONG, "the replica believes that it listens");
        sleep(Duration::from_millis(20)).await;
    }
    println!("noticed after {:?}", cut.elapsed());
    assert!(network.injected().held > 0 && futures_util::poll!(std::pin::pin!(follower.moved())).is_pending());

    network.heal();
    let healed = Instant::now();
    timeout(LONG, follower.moved()).await.unwrap();
    println!("heard of {:?} after the network was back", healed.elapsed());
    while !there.hints.as_ref().unwrap().is_listening() {
        assert!(healed.elapsed() < LONG, "the replica does not listen again");
        sleep(Duration::from_millis(20)).await;
    }
}
