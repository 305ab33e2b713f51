//! The router of the port, and what happens to a request behind the gate.

use super::budget::Budget;
use super::ids::Ids;
use super::metrics::Stats;
use super::recent::{Known, Recent};
use super::refused::{Refused, json_response};
use super::request::{Head, Most, Part, fingerprint};
use super::sink::{Sink, Standing, computed};
use super::{Config, IMAGES};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use firesteel_common::access::{Caller, Role};
use firesteel_common::http::{healthz, readiness};
use firesteel_proto::{ImageId, ImageRecord, Label, Timestamp};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What all requests share.
pub(super) struct Door {
    sink: Arc<dyn Sink>,
    standing: Arc<Standing>,
    stats: Arc<Stats>,
    budget: Arc<Budget>,
    ids: Ids,
    recent: Recent,
    most: Most,
    body_timeout: Duration,
}

/// The images of a request that are taken.
struct Taken {
    ids: Vec<ImageId>,
    /// Whether the body was one image, and not a form.
    single: bool,
}

impl Door {
    pub(super) fn new(
        config: &Config,
        sink: Arc<dyn Sink>,
        stats: Arc<Stats>,
        standing: Arc<Standing>,
    ) -> Self {
        Self {
            sink,
            standing,
            budget: Budget::new(config.max_in_flight_bytes, largest(config), stats.held.clone()),
            stats,
            ids: Ids::new(&config.topic),
            recent: Recent::new(config.remembered_keys),
            most: Most {
                image_bytes: config.max_image_bytes,
                request_bytes: config.max_request_bytes,
                images: config.max_images,
            },
            body_timeout: config.body_timeout,
        }
    }

    async fn take(&self, request: Request) -> Result<Taken, Refused> {
        let (parts, body) = request.into_parts();
        let caller = Caller::of(&parts.extensions)?;
        caller.needs(Role::Writer)?;
        let reasons = self.standing.reasons();
        if !reasons.is_empty() {
            return Err(Refused::Unavailable(reasons.join(", ")));
        }
        let head = Head::read(&parts, &self.most)?;
        let length = head.length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        // Until the answer: what waits for Kafka is in memory, too.
        let hold = Arc::new(self.budget.hold(caller.user()));
        if !hold.has_room(length) {
            return Err(Refused::Busy);
        }
        let read = head.body.images(body, &self.most, &hold);
        let late = |_| Refused::Slow(self.body_timeout.as_secs());
        let images = tokio::time::timeout(self.body_timeout, read).await.map_err(late)??;
        let user = caller.user().unwrap_or_default();
        let single = matches!(head.body, super::request::Kind::Image(_));
        let Some(key) = &head.key else {
            let ids = self.ids.fresh(images.len());
            self.publish(&ids, head.label.as_ref(), images).await?;
            return Ok(Taken { ids, single });
        };
        let ids = self.ids.of_key(user, key, images.len());
        let label = head.label.as_ref();
        let digest = computed(bytes_of(&images), || fingerprint(label, &images));
        match self.recent.came(user, key, digest) {
            Known::Other => return Err(Refused::OtherImages),
            Known::Acknowledged => self.stats.repeated.inc_by(images.len() as u64),
            Known::New => {
                self.publish(&ids, label, images).await?;
                self.recent.acknowledged(user, key, digest);
            }
        }
        Ok(Taken { ids, single })
    }

    /// Publishes images side by side, and returns when all are acknowledged, or one is not.
    async fn publish(
        &self,
        ids: &[ImageId],
        label: Option<&Label>,
        images: Vec<Part>,
    ) -> Result<(), Refused> {
        let produced_at = Timestamp::now();
        let sent = ids.iter().zip(images).map(|(id, Part { encoding, data })| async move {
            let bytes = data.len() as u64;
            let record = ImageRecord { id: *id, produced_at, label: label.cloned(), encoding, data };
            self.sink.publish(record).await?;
            self.stats.acknowledged.inc();
            self.stats.bytes.inc_by(bytes);
            Ok::<_, Refused>(())
        });
        // All of them come to an end: which have arrived is not left to who was first.
        let sent = futures::future::join_all(sent).await;
        let there: Vec<Option<ImageId>> =
            ids.iter().zip(&sent).map(|(id, sent)| sent.is_ok().then_some(*id)).collect();
        match sent.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some(of) if there.iter().any(Option::is_some) => {
                Err(Refused::Partly { of: Box::new(of), ids: there })
            }
            Some(refused) => Err(refused),
        }
    }
}

/// The bytes of images.
fn bytes_of(images: &[Part]) -> usize {
    images.iter().map(|part| part.data.len()).sum()
}

/// The largest request. It always fits, or it would be told to come again for ever.
fn largest(config: &Config) -> usize {
    config.max_request_bytes.max(config.max_image_bytes)
}

/// The routes of the port.
pub(super) fn router(door: Arc<Door>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route(IMAGES, post(images))
        .with_state(door)
}

async fn readyz(State(door): State<Arc<Door>>) -> Response {
    let reasons = door.standing.reasons();
    let words = if reasons.is_empty() { "ready".to_owned() } else { reasons.join("\n") };
    readiness(reasons.is_empty(), format!("{words}\n"))
}

async fn images(State(door): State<Arc<Door>>, request: Request) -> Response {
    let begun = Instant::now();
    let response = match door.take(request).await {
        Ok(Taken { ids, single }) => {
            door.stats.seconds.observe(begun.elapsed().as_secs_f64());
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let said = match (single, ids.as_slice()) {
                (true, [id]) => json!({ "id": id }),
                _ => json!({ "ids": ids }),
            };
            json_response(StatusCode::ACCEPTED, &said)
        }
        Err(refused) => {
            // As Debug, so that a line break of the request is none of the log.
            tracing::debug!(?refused, "images are refused");
            refused.into_response()
        }
    };
    door.stats.answered(response.status());
    response
}
