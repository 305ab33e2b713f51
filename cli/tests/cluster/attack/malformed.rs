//! Broken requests at every door, without and with a token: nothing ends, memory comes back, and a good query works.
//!
//! A hundred a door, or as many as `FIRESTEEL_TEST_MALFORMED` says; `FIRESTEEL_TEST_SEED` makes others.

use std::time::Duration;

use firesteel_testkit::{SOON, ports, wait_until};
use futures::{StreamExt as _, stream};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::io::AsyncWriteExt as _;

use super::broken::{Broken, broken};
use super::fortress::{Door, Fortress};
use super::wire::{Called, Manner, Peer};
use crate::doors::support::{BOB, ROOT, SECRET};

/// How many requests are under way at a door.
const AT_A_TIME: usize = 16;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much more memory a process may have afterwards. What an allocator keeps is in it.
const MORE: u64 = 96 << 20;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Who breaks requests with a token: the most powerful one who is not a part of the cluster, or whom executors serve.
fn token(door: &Door) -> &'static str {
    if door.name.starts_with("executor") { SECRET } else { ROOT }
}

async fn attack(fortress: &Fortress, door: &Door, number: u64, seed: u64) {
    let (tls, plain) = (fortress.peer(door), Peer::new(door.address, None));
    let of_door = door.name.bytes().map(u64::from).sum::<u64>() << 48;
    let requests = (0..number).map(|index| {
        let mut random = StdRng::seed_from_u64(seed ^ of_door ^ index);
        let token = (index % 2 == 1).then(|| token(door));
        let broken = broken(&mut random, token);
        let (tls, plain) = (&tls, &plain);
        async move {
            let manner = Manner { token, ..Manner::default() };
            // What is answered is no matter, and that nothing is, neither.
            match broken {
                Broken::Raw(bytes) => drop(plain.send(&bytes, PATIENCE).await),
                Broken::Http(bytes) => drop(tls.send(&bytes, PATIENCE).await),
                Broken::Call(path, body) => drop(tls.call(path, body, manner).await),
                Broken::Frames(bytes) => {
                    if let Ok(mut stream) = tls.open("h2").await {
                        let _ = tokio::time::timeout(PATIENCE, stream.write_all(&bytes)).await;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
                Broken::Half(bytes) => {
                    if let Ok(mut stream) = tls.open("http/1.1").await {
                        let _ = stream.write_all(&bytes[..bytes.len() / 2]).await;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        }
    });
    stream::iter(requests).buffer_unordered(AT_A_TIME).for_each(|()| async {}).await;
}

/// Good requests at every door.
async fn assert_at_work(fortress: &Fortress, when: &str) {
    let told = fortress.sql(ROOT, "SELECT sum(column1) AS s FROM (VALUES (40), (2))");
    assert_eq!(told.as_deref(), Ok("s\n42\n"), "{when}");
    for door in &fortress.doors {
        let (status, _) = fortress.peer(door).get("/healthz", Some(ROOT)).await.expect("an answer");
        assert!(matches!(status, 200 | 404), "{when}, {}: {status}", door.name);
    }
    // An image without data is a bad request, which the model's server has looked at.
    let inference = &fortress.doors[5];
    let manner = Manner { token: Some(BOB), ..Manner::default() };
    let peer = fortress.peer(inference);
    let called = peer.call("/firesteel.v1.Inference/Classify", vec![0; 5].into(), manner);
    assert!(matches!(called.await, Some(Called::Grpc(0 | 3))), "{when}");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_requests_end_nothing_and_leave_nothing() {
    let (number, seed) = (setting("FIRESTEEL_TEST_MALFORMED", 100), setting("FIRESTEEL_TEST_SEED", 1));
    let mut fortress = Fortress::start().await;
    assert_at_work(&fortress, "before").await;
    // What comes once, such as the pages of code and the threads of pools, comes here.
    for door in &fortress.doors {
        attack(&fortress, door, 24, seed ^ u64::MAX).await;
    }
    let resident = |fortress: &Fortress| -> Vec<Option<u64>> {
        fortress.roles.iter().map(|(_, role)| ports::resident_bytes(role.id())).collect()
    };
    let before = resident(&fortress);
    for door in &fortress.doors {
        attack(&fortress, door, number, seed).await;
        for (name, role) in &mut fortress.roles {
            assert!(role.is_running(), "{name} has ended after {}; it said:\n{}", door.name, role.said());
        }
    }
    assert_at_work(&fortress, "after").await;
    wait_until("memory comes back", SOON, async || {
        let after = resident(&fortress);
        before
            .iter()
            .zip(&after)
            .all(|(before, after)| after.unwrap_or(u64::MAX) <= before.unwrap_or(0) + MORE)
    })
    .await;
    let after = resident(&fortress);
    let mib = |bytes: Option<u64>| bytes.unwrap_or_default() >> 20;
    for (((name, role), before), after) in fortress.roles.iter_mut().zip(&before).zip(after) {
        println!("{name}: {} MiB before, {} MiB after {number} requests a door", mib(*before), mib(after));
        assert!(!role.said().contains("panicked"), "{name} has panicked:\n{}", role.said());
    }
}
