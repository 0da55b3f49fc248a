//! What holds among replicas that share a database.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    house::{House, id_in, moment, row},
    *,
};

/// A statement of another connection takes milliseconds.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn replicas_that_race_for_a_new_key_agree_on_one_saga() {
    let house = House::on_postgres().await;
    let shops = [house.open().await, house.open().await, house.open().await];
    for round in 0..20 {
        let starts = (0..24_u8).map(|n| {
            let log = shops[usize::from(n) % shops.len()].log();
            // Keys are taken in other orders by other replicas.
            let key = format!("{round}/{}", (n / 3 + n % 3) % 8);
            let mut row = row(id_in(n), &key);
            row.id = SagaId(uuid::Uuid::from_u128(row.id.0.as_u128() ^ (round + 1) << 16));
            async move { (row.key.clone(), row.id, log.start(row).await.unwrap()) }
        });
        let mut winners: BTreeMap<String, Vec<SagaId>> = BTreeMap::new();
        for (key, id, started) in join_all(starts).await {
            let winner = match started {
                Started::New => id,
                Started::Existing(row) => row.id,
            };
            winners.entry(key).or_default().push(winner);
        }
        assert_eq!(winners.len(), 8);
        for (key, ids) in winners {
            assert!(ids.iter().all(|id| *id == ids[0]), "{key} has several sagas: {ids:?}");
        }
    }
    let conflicts: u64 = shops.iter().map(|shop| shop.committer.totals().conflicts).sum();
    println!("decided again {conflicts} times");
    assert!(conflicts > 0, "nobody ever came second");
}

#[tokio::test]
async fn a_record_under_a_lost_lease_is_refused_alone() {
    let house = House::on_postgres().await;
    let shop = house.open().await;
    let log = shop.log();
    for n in 0..8 {
        log.start(row(id_in(n), &n.to_string())).await.unwrap();
    }
    let epoch = house.take(id_in(1).partition()).await;
    let before = shop.committer.totals();
    let records = (0..8).map(|n| log.record(id_in(n), 0, Record::Waiting { due: moment(50) }, moment(1)));
    for (n, recorded) in (0..8).zip(join_all(records).await) {
        let expected = if n % 4 == 1 { Err(LogError::Fenced(id_in(n))) } else { Ok(()) };
        assert_eq!(recorded, expected, "saga {n}");
    }
    let after = shop.committer.totals();
    println!("{} batches", after.batches - before.batches);
    assert!(after.batches - before.batches < 8, "nobody had a neighbour");
    let fresh = |epoch| SagaRow { epoch, ..row(id_in(9), "9") };
    assert!(matches!(log.start(fresh(0)).await, Err(LogError::Fenced(_))));
    assert!(matches!(log.start(fresh(epoch)).await, Ok(Started::New)));
    let found = log.start(SagaRow { id: id_in(5), epoch: 0, ..row(id_in(9), "9") }).await.unwrap();
    assert!(matches!(found, Started::Existing(row) if row.id == id_in(9)), "a repeat needs no lease");
    // Anybody may leave word.
    assert!(log.post(id_in(1), Signal::TurnBack(fault("asked"))).await.unwrap().unwrap().has_word());
}

#[tokio::test]
async fn word_is_heard_by_other_replicas() {
    let house = House::on_postgres().await;
    let (mut owner, other) = (house.open().await, house.open().await);
    let stop = CancellationToken::new();
    let listening = tokio::spawn(owner.shared.take().unwrap().listener.run(stop.clone()));
    let owner = owner.log();
    owner.start(row(id_in(1), "key")).await.unwrap();
    let heard = async {
        // The first may come before anybody listens.
        loop {
            other.log().post(id_in(1), Signal::TurnBack(fault("asked"))).await.unwrap();
            if timeout(Duration::from_millis(100), owner.posted()).await.is_ok() {
                return;
            }
        }
    };
    timeout(SOON, heard).await.expect("word is announced");
    assert!(owner.load(id_in(1)).await.unwrap().unwrap().has_word());
    stop.cancel();
    listening.await.unwrap();
}
