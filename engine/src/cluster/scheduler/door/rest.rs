//! What a user may see of the jobs of others over REST: that they are there, and nothing of what they ask.
//!
//! | route | a reader sees |
//! |---|---|
//! | `/api/jobs`, `/history/api/jobs` | every job; of others neither the name nor the words of an error |
//! | `/api/firesteel/activity` | every job, of others without the name; with a filter on names, their own alone |
//! | `/api/job/{id}…`, `/history/api/job/{id}…`, `PATCH` too | their own |
//! | everything else | all of it |
//!
//! A name begins with the statement, plans hold its literals, and errors may quote rows. An admin sees everything, as does
//! everybody where nobody is authenticated.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use firesteel_common::access::{Caller, Role};
use serde_json::Value;

use super::owners::Owners;
use crate::jobs::ACTIVITY_PATH;

/// The lists of jobs, of Ballista and of its history.
const LISTS: [&str; 2] = ["/api/jobs", "/history/api/jobs"];

/// What the paths of a single job begin with.
const JOBS: [&str; 2] = ["/api/job/", "/history/api/job/"];

/// The largest list that is read to leave names out, in bytes.
const LARGEST: usize = 64 << 20;

/// Guards the routes behind it.
pub(in crate::cluster::scheduler) async fn guard(
    State(owners): State<Arc<Owners>>,
    request: Request,
    next: Next,
) -> Response {
    let caller = match Caller::of(request.extensions()) {
        Ok(caller) => caller.clone(),
        Err(refusal) => return refusal.into_response(),
    };
    let path = request.uri().path();
    let job = JOBS.iter().find_map(|prefix| path.strip_prefix(prefix)).map(first_part);
    let allowed =
        caller.needs(Role::Reader).and_then(|()| job.map_or(Ok(()), |job| owners.check(&caller, job)));
    if let Err(refusal) = allowed {
        return refusal.into_response();
    }
    let hide = match path {
        _ if Owners::sees_all(&caller) => None,
        _ if LISTS.contains(&path) => Some(Hide::Names),
        ACTIVITY_PATH if request.uri().query().unwrap_or_default().is_empty() => Some(Hide::Names),
        // Whether a name matches says something about it.
        ACTIVITY_PATH => Some(Hide::Jobs),
        _ => None,
    };
    let is_head = request.method() == Method::HEAD;
    let response = next.run(request).await;
    match hide {
        // An answer to HEAD has no body to leave anything out of; its length would tell about names.
        Some(_) if is_head => without_length(response),
        Some(hide) if response.status() == StatusCode::OK => {
            without_others(response, hide, |job| owners.owns(&caller, job)).await
        }
        _ => response,
    }
}

fn first_part(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

/// What is left out of a list.
#[derive(Clone, Copy, Debug)]
enum Hide {
    /// The names of the jobs of others.
    Names,
    /// The jobs of others.
    Jobs,
}

fn without_length(mut response: Response) -> Response {
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// Leaves out of a list of jobs what is not the caller's.
async fn without_others(response: Response, hide: Hide, own: impl Fn(&str) -> bool) -> Response {
    let (mut parts, body) = response.into_parts();
    let list = to_bytes(body, LARGEST).await.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(mut list) = list else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "the list of jobs cannot be read\n").into_response();
    };
    leave_out(&mut list, hide, own);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(list.to_string()))
}

fn leave_out(list: &mut Value, hide: Hide, own: impl Fn(&str) -> bool) {
    let jobs = match list {
        Value::Array(jobs) => jobs,
        Value::Object(activity) => match activity.get_mut("jobs") {
            Some(Value::Array(jobs)) => jobs,
            _ => return,
        },
        _ => return,
    };
    let is_own = |job: &Value| ["job_id", "id"].iter().any(|id| job[*id].as_str().is_some_and(&own));
    if let Hide::Jobs = hide {
        jobs.retain(is_own);
    }
    for job in jobs.iter_mut().filter(|job| !is_own(job)) {
        for name in ["job_name", "name"] {
            if let Some(name) = job.get_mut(name) {
                *name = Value::from("");
            }
        }
        // The words of an error follow the state.
        if let Some(status) = job.get("status").cloned()
            && let Some(words) = job.get_mut("job_status")
        {
            *words = status;
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware;
    use axum::routing::any;
    use ballista_scheduler::scheduler_server::JobIdGenerator as _;
    use firesteel_common::access::Principal;
    use serde_json::json;
    use tower::ServiceExt as _;

    use super::*;

    fn user(name: &str, role: Role) -> Caller {
        Caller::User(Principal { name: name.to_owned(), role })
    }

    #[tokio::test]
    async fn a_user_sees_of_others_that_they_work_and_not_on_what() {
        let owners = Arc::new(Owners::default());
        let ada = user("ada", Role::Writer);
        let job = Owners::submitting(&ada, owners.next_id()).await;
        let list = json!([{ "job_id": job, "job_name": "SELECT 'secret'", "status": "Failed",
            "job_status": "Failed: cannot cast 'secret'" }]);
        let activity = json!({ "executors": [], "jobs": [{ "id": job, "name": "SELECT 'secret'" }] });
        let answer = |text: String| any(move || async move { text });
        let router = Router::new()
            .route("/api/jobs", answer(list.to_string()))
            .route("/history/api/jobs", answer(list.to_string()))
            .route(ACTIVITY_PATH, answer(activity.to_string()))
            .route("/api/job/{id}", answer("the plan, with 'secret'".to_owned()))
            .route("/api/job/{id}/dot", answer("the plan, with 'secret'".to_owned()))
            .route("/history/api/job/{id}/stages", answer("the plan, with 'secret'".to_owned()))
            .layer(middleware::from_fn_with_state(Arc::clone(&owners), guard));
        let ask = async |caller: Option<Caller>, method: &str, path: String| {
            let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            let response = router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            let body = to_bytes(response.into_body(), LARGEST).await.unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        let lists = ["/api/jobs", "/history/api/jobs", ACTIVITY_PATH];
        let by_name = format!("{ACTIVITY_PATH}?name=SELECT%20%27s");
        for all in [ada, user("root", Role::Admin), Caller::Member, Caller::Open] {
            for path in lists.iter().map(|path| (*path).to_owned()).chain([by_name.clone()]) {
                let (status, body) = ask(Some(all.clone()), "GET", path.clone()).await;
                assert!(status == StatusCode::OK && body.contains("secret"), "{all:?} {path}: {body}");
            }
            for (method, path) in [("GET", ""), ("PATCH", ""), ("GET", "/dot")] {
                let (status, _) = ask(Some(all.clone()), method, format!("/api/job/{job}{path}")).await;
                assert_eq!(status, StatusCode::OK, "{all:?} {method} {path}");
            }
        }
        let bob = || Some(user("bob", Role::Writer));
        for path in lists {
            let (status, body) = ask(bob(), "GET", path.to_owned()).await;
            assert_eq!(status, StatusCode::OK);
            assert!(body.contains(&job) && !body.contains("secret"), "{path}: {body}");
            assert_eq!(ask(bob(), "HEAD", path.to_owned()).await.0, StatusCode::OK, "{path}");
        }
        let (_, body) = ask(bob(), "GET", by_name).await;
        assert!(!body.contains(&job), "a filter tells whether a name matches: {body}");
        for (method, path) in [
            ("GET", format!("/api/job/{job}")),
            ("PATCH", format!("/api/job/{job}")),
            ("GET", format!("/api/job/{job}/dot")),
            ("GET", format!("/api/job/%{:x}{}", job.as_bytes()[0], &job[1..])),
            ("GET", format!("/history/api/job/{job}/stages")),
            ("GET", "/api/job/nothing".to_owned()),
        ] {
            let (status, body) = ask(bob(), method, path.clone()).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}");
            assert!(body.contains("admin") && !body.contains("secret"), "{body}");
        }
        assert_eq!(ask(None, "GET", "/api/jobs".to_owned()).await.0, StatusCode::UNAUTHORIZED);
    }
}
