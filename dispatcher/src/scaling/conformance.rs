//! What every provider of machines must do, as one suite that runs on all of them.

use std::sync::Arc;
use std::time::Duration;

use capacity::pools::{InstanceId, Pool};

use super::provider::{Capacity, Shown};

/// How long a provider may take to show what it was asked for.
const PATIENCE: Duration = Duration::from_secs(60);

async fn look(capacity: &dyn Capacity, pool: &Arc<Pool>) -> Shown {
    let mut shown = capacity.look(&pool.region, std::slice::from_ref(pool)).await.expect("the provider answers");
    assert_eq!(shown.len(), 1, "one pool was asked for: {shown:?}");
    let one = shown.remove(0);
    assert_eq!(one.pool, pool.id);
    one
}

/// Instances that stay, once there are `count`.
async fn settled(capacity: &dyn Capacity, pool: &Arc<Pool>, count: usize) -> Vec<InstanceId> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let shown = look(capacity, pool).await;
        let staying: Vec<_> = shown.instances.iter().filter(|i| !i.ending).map(|i| i.id.clone()).collect();
        if staying.len() == count && shown.wanted as usize == count {
            return staying;
        }
        assert!(tokio::time::Instant::now() < until, "{count} instances were expected, there are {shown:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Runs the suite on a pool that is empty and admits two instances.
///
/// # Panics
/// The provider does not keep what [`Capacity`] promises.
pub async fn conformance(capacity: &dyn Capacity, pool: &Arc<Pool>) {
    assert!(settled(capacity, pool, 0).await.is_empty());
    assert!(capacity.failures(pool).await.expect("failures can be asked for").is_empty());

    capacity.ask_for(pool, 1).await.expect("one can be had");
    let one = settled(capacity, pool, 1).await;
    capacity.ask_for(pool, 1).await.expect("asking again is allowed");
    assert_eq!(settled(capacity, pool, 1).await, one, "asking again changes nothing");

    capacity.ask_for(pool, 2).await.expect("two can be had");
    let two = settled(capacity, pool, 2).await;
    assert!(two.contains(&one[0]), "the first stays when a second comes: {one:?}, {two:?}");
    let other = two.iter().find(|id| **id != one[0]).expect("names differ").clone();

    capacity.retire(pool, &one[0]).await.expect("an instance can be retired");
    capacity.retire(pool, &InstanceId::from("i-00000000000000000")).await.expect("one that is not known too");
    assert_eq!(settled(capacity, pool, 2).await.len(), 2, "retiring ends nothing");

    capacity.end(pool, &one[0]).await.expect("an instance can be ended");
    assert_eq!(
        settled(capacity, pool, 1).await,
        std::slice::from_ref(&other),
        "the one that was named ends, and is not replaced"
    );
    capacity.end(pool, &one[0]).await.expect("ending again is allowed");
    assert_eq!(settled(capacity, pool, 1).await, std::slice::from_ref(&other), "ending again ends no other");

    capacity.end(pool, &other).await.expect("the last can be ended");
    assert!(settled(capacity, pool, 0).await.is_empty());
    assert!(capacity.failures(pool).await.expect("failures can be asked for").is_empty());
}
