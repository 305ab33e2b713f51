//! The Arrow Flight service of an executor: its shuffle files, and nothing else.
//!
//! Ballista's service makes a path of what a request names without looking at it. This one checks the id of the job first,
//! and refuses the methods that an executor does not need, some of which would read from a client without end.

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use ballista_core::serde::decode_protobuf;
use ballista_core::serde::scheduler::Action as Fetch;
use ballista_executor::flight_service::BallistaFlightService;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

/// The longest id of a job.
const LONGEST_ID: usize = 64;

/// Checks that the id of a job can be the name of a folder, whether or not there is one. Ballista takes ids from the wire as
/// a part of a path.
pub(super) fn check_job_id(id: &str) -> Result<(), Status> {
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(usable) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "the id of a job has 1 to {LONGEST_ID} letters, digits, `_` and `-`, and this one does not"
    )))
}

/// The service.
pub(super) struct Shuffles(BallistaFlightService);

impl Shuffles {
    /// Serves the files of the jobs below `folder`.
    pub(super) fn new(folder: String) -> Self {
        Self(BallistaFlightService::new(folder))
    }
}

/// Checks what a ticket or an action asks for.
fn check(fetch: &[u8]) -> Result<(), Status> {
    // What cannot be read is not repeated: it came from outside.
    let fetch = decode_protobuf(fetch).map_err(|_| Status::invalid_argument("this names no shuffle file"))?;
    match fetch {
        Fetch::FetchPartition { job_id, .. } => check_job_id(job_id.as_str()),
    }
}

fn not_here<T>(method: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!("an executor has no `{method}`: it gives out its shuffle files only")))
}

#[tonic::async_trait]
impl FlightService for Shuffles {
    type DoActionStream = <BallistaFlightService as FlightService>::DoActionStream;
    type DoGetStream = <BallistaFlightService as FlightService>::DoGetStream;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        check(&request.get_ref().ticket)?;
        self.0.do_get(request).await
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        check(&request.get_ref().body)?;
        self.0.do_action(request).await
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        not_here("Handshake")
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        not_here("ListFlights")
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        not_here("GetFlightInfo")
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        not_here("PollFlightInfo")
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        not_here("GetSchema")
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        not_here("DoPut")
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        not_here("DoExchange")
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        not_here("ListActions")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ballista_core::serde::protobuf;
    use ballista_core::serde::scheduler::{ShuffleFileKind, ShuffleLayout};
    use prost::Message as _;
    use tonic::Code;

    use super::*;

    fn fetch(job: &str) -> Vec<u8> {
        let fetch = Fetch::FetchPartition {
            job_id: job.into(),
            stage_id: 1,
            partition_id: 0,
            host: "localhost".to_owned(),
            port: 1,
            file_id: None,
            layout: ShuffleLayout::Passthrough,
            file_kind: ShuffleFileKind::Data,
            byte_ranges: Vec::new(),
        };
        let fetch: protobuf::Action = fetch.try_into().unwrap();
        fetch.encode_to_vec()
    }

    async fn asked(shuffles: &Shuffles, job: &str) -> [Status; 2] {
        let get = shuffles.do_get(Request::new(Ticket { ticket: fetch(job).into() })).await;
        let body = fetch(job).into();
        let action = Action { r#type: "IO_BLOCK_TRANSPORT".to_owned(), body };
        let act = shuffles.do_action(Request::new(action)).await;
        [get.err().unwrap(), act.err().unwrap()]
    }

    #[tokio::test]
    async fn a_path_of_others_is_refused_in_the_same_words_whether_or_not_it_is_there() {
        let (own, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = others.path().join("job/1/0/data.arrow");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "secret").unwrap();
        let shuffles = Shuffles::new(own.path().display().to_string());

        let outside = others.path().join("job").display().to_string();
        let above = format!("../{}/job", others.path().file_name().unwrap().to_string_lossy());
        let mut words = Vec::new();
        for job in [&outside, &above, "/nowhere/at/all", "..", ".", "", "a/b", "a.b", "jöb", &"x".repeat(65)]
        {
            for status in asked(&shuffles, job).await {
                assert_eq!(status.code(), Code::InvalidArgument, "{job}: {status}");
                words.push(status.message().to_owned());
            }
        }
        words.dedup();
        assert_eq!(words.len(), 1, "{words:?}");
        // One that can be a job is looked for, in this executor's folder.
        for status in asked(&shuffles, "AbC_1-2").await {
            assert_ne!(status.code(), Code::InvalidArgument, "{status}");
        }
    }
}
