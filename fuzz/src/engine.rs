//! The targets of the engine: documents, plans, shuffle files, options, SQL, and paths of REST.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use firesteel_engine::cluster::{Scheduler, SchedulerConfig};
use firesteel_engine::fuzz::Reader;

/// The longest text of SQL that is tried.
const SQL: usize = 4096;

static READER: LazyLock<Reader> = LazyLock::new(|| {
    // That of libFuzzer ends the process before a panic can be caught. One that is not caught ends it still.
    #[cfg(not(test))]
    std::panic::set_hook(Box::new(|_| {}));
    Reader::new().expect("a session")
});

/// BSON into Arrow.
pub fn documents(bytes: &[u8]) {
    READER.documents(bytes);
}

/// Plans of clients, and the tables and nodes in them.
pub fn logical_plans(bytes: &[u8]) {
    READER.logical_plan(bytes);
}

/// Plans of schedulers, and the nodes in them.
pub fn physical_plans(bytes: &[u8]) {
    READER.physical_plan(bytes);
}

/// Shuffle files of other executors.
pub fn shuffles(bytes: &[u8]) {
    READER.shuffle(bytes);
}

/// The options of a table.
pub fn options(bytes: &[u8]) {
    READER.options(&String::from_utf8_lossy(bytes));
}

/// A statement.
pub fn sql(bytes: &[u8]) {
    READER.sql(&String::from_utf8_lossy(bytes.get(..SQL).unwrap_or(bytes)));
}

/// A request to a scheduler in this process: the bytes are its path. No answer says that the server has failed.
pub fn routes(bytes: &[u8]) {
    static SCHEDULER: OnceLock<SocketAddr> = OnceLock::new();
    let address = SCHEDULER.get_or_init(start);
    let method: &[u8] = if bytes.first().is_some_and(|byte| byte % 4 == 3) { b"PATCH" } else { b"GET" };
    let head = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    // A line that ends makes another request of it, which nobody waits for.
    let path = bytes.get(1..).unwrap_or_default().iter().filter(|byte| !matches!(byte, b'\r' | b'\n'));
    let path: Vec<u8> = path.copied().collect();
    let request = [method, b" /api/".as_slice(), path.as_slice(), head.as_slice()].concat();
    let mut stream = TcpStream::connect(address).expect("the scheduler is there");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut answer = Vec::new();
    // Whoever is cut off while still writing has an answer all the same.
    let _ = stream.write_all(&request);
    let _ = stream.read_to_end(&mut answer);
    let status = answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.first());
    assert_ne!(status, Some(&b'5'), "{}", String::from_utf8_lossy(&answer));
}

/// Starts a scheduler without executors; where it listens.
fn start() -> SocketAddr {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let config = SchedulerConfig { bind_port: 0, ..SchedulerConfig::new(Default::default()) };
            let scheduler = Scheduler::bind(config).await.expect("a scheduler");
            send.send(scheduler.address()).expect("somebody waits");
            let _ = scheduler.run(tokio_util::sync::CancellationToken::new()).await;
        });
    });
    receive.recv().expect("an address")
}
