//! What a request says and brings: its type, label and key, and the images of its body.

use super::budget::Hold;
use super::ids::digest;
use super::refused::Refused;
use crate::inference::decode::detect;
use axum::body::Body;
use axum::extract::Query;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use bytes::{Bytes, BytesMut};
use firesteel_proto::{Encoding, Label};
use futures::{Stream, StreamExt as _, stream};
use multer::{Constraints, Multipart};
use serde::Deserialize;
use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;

/// The header of a request that can be repeated.
pub(super) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The most bytes of a key.
const MAX_KEY: usize = 255;
/// The most bytes of the name of a field or of a file.
const MAX_NAME: usize = 255;
/// The most characters of a text of the request that an error repeats.
const MAX_ECHO: usize = 100;
/// The name of a body of several files.
const FORM: &str = "multipart/form-data";
const TYPES: &str = "image/jpeg, image/png, image/webp or multipart/form-data";

/// The most that a request may bring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    pub(super) image_bytes: usize,
    pub(super) request_bytes: usize,
    pub(super) images: usize,
}

/// What a request says before its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) body: Kind,
    /// The true class of all its images.
    pub(super) label: Option<Label>,
    pub(super) key: Option<String>,
    /// The length of the body, where it is said.
    pub(super) length: Option<u64>,
}

/// The kind of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// One image, which is of this encoding.
    Image(Encoding),
    /// Files, with this boundary between them.
    Form(String),
}

/// An image of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) encoding: Encoding,
    pub(super) data: Bytes,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    label: Option<String>,
}

impl Head {
    /// Reads the head of a request.
    ///
    /// # Errors
    /// [`Refused::Type`], [`Refused::TooLarge`] and [`Refused::Request`].
    pub(super) fn read(parts: &Parts, most: &Most) -> Result<Self, Refused> {
        let body = kind(&parts.headers)?;
        let Query(parameters) = Query::<Parameters>::try_from_uri(&parts.uri)
            .map_err(|error| Refused::Request(format!("{}; there is `label` alone", error.body_text())))?;
        let label = parameters.label.as_deref().map(|label| Label::parse("label", label)).transpose();
        let label = label.map_err(|error| Refused::Request(error.to_string()))?;
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let (what, limit) = body.limit(most);
        if length.is_some_and(|length: u64| length > limit as u64) {
            return Err(Refused::TooLarge { what, most: limit });
        }
        Ok(Self { body, label, key: key(&parts.headers)?, length })
    }
}

impl Kind {
    /// The most bytes of such a body, and what has them.
    fn limit(&self, most: &Most) -> (&'static str, usize) {
        match self {
            Self::Image(_) => ("the image", most.image_bytes),
            Self::Form(_) => ("the request", most.request_bytes),
        }
    }

    /// Reads the images of a body; each byte is held as it arrives.
    ///
    /// # Errors
    /// [`Refused::Request`] for what is no image, [`Refused::TooLarge`], [`Refused::Busy`].
    pub(super) async fn images(
        &self,
        body: Body,
        most: &Most,
        hold: &Arc<Hold>,
    ) -> Result<Vec<Part>, Refused> {
        let stream = metered(body, self.limit(most), Arc::clone(hold));
        match self {
            Self::Image(encoding) => {
                let data = whole(stream).await?;
                let part = image("the body", &data)?;
                if part.encoding != *encoding {
                    return Err(Refused::Request(format!(
                        "the content type says {}, and the image is {}",
                        media_type(*encoding),
                        media_type(part.encoding)
                    )));
                }
                Ok(vec![part])
            }
            // The whole body first: of one that comes in small pieces the parser would search all that it has at each of them.
            Self::Form(boundary) => files(whole(stream).await?, boundary, most).await,
        }
    }
}

/// What tells the images of a request from others: their bytes and their label.
pub(super) fn fingerprint(label: Option<&Label>, images: &[Part]) -> [u8; 32] {
    let label = label.map(Label::as_str).unwrap_or_default();
    let parts: Vec<&[u8]> =
        std::iter::once(label.as_bytes()).chain(images.iter().map(|part| &*part.data)).collect();
    digest("firesteel ingest images", &parts)
}

fn kind(headers: &HeaderMap) -> Result<Kind, Refused> {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let Some(text) = text else {
        return Err(Refused::Type(format!("a request has the content type {TYPES}")));
    };
    let name = text.split(';').next().unwrap_or_default().trim();
    if name.eq_ignore_ascii_case(FORM) {
        let boundary = multer::parse_boundary(text);
        return boundary.map(Kind::Form).map_err(|error| Refused::Request(format!("{FORM}: {error}")));
    }
    encoding(name).map(Kind::Image).ok_or_else(|| {
        Refused::Type(format!("the content type is {:?}, and has to be {TYPES}", shortened(name)))
    })
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let mut values = headers.get_all(KEY).iter();
    let (Some(key), more) = (values.next(), values.next()) else { return Ok(None) };
    let bad = || {
        Refused::Request(format!(
            "an Idempotency-Key has 1 to {MAX_KEY} visible characters of ASCII, and comes once"
        ))
    };
    let key = key.to_str().map_err(|_| bad())?;
    let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if more.is_some() || key.is_empty() || key.len() > MAX_KEY || !is_visible {
        return Err(bad());
    }
    Ok(Some(key.to_owned()))
}

/// The encoding that a media type names.
fn encoding(media_type: &str) -> Option<Encoding> {
    let encodings = [Encoding::Jpeg, Encoding::Png, Encoding::WebP];
    encodings.into_iter().find(|encoding| self::media_type(*encoding).eq_ignore_ascii_case(media_type))
}

fn media_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Jpeg => "image/jpeg",
        Encoding::Png => "image/png",
        Encoding::WebP => "image/webp",
        Encoding::Rgb8 => "raw pixels",
    }
}

/// An image by its first bytes.
fn image(name: &str, data: &Bytes) -> Result<Part, Refused> {
    let refused = |problem: &str| Refused::Request(format!("{name} {problem}"));
    if data.is_empty() {
        return Err(refused("has no data"));
    }
    let encoding = detect(data)
        .ok_or_else(|| refused("is no image: its first bytes are those of no JPEG, PNG or WebP"))?;
    Ok(Part { encoding, data: data.clone() })
}

/// The bytes of a body, up to a limit and as far as there is memory for them.
fn metered(
    body: Body,
    (what, most): (&'static str, usize),
    hold: Arc<Hold>,
) -> impl Stream<Item = Result<Bytes, Refused>> + Send + Unpin + 'static {
    let mut read = 0_usize;
    body.into_data_stream().map(move |piece| {
        let piece = piece.map_err(|error| Refused::Request(format!("the body broke off: {error}")))?;
        read = read.saturating_add(piece.len());
        if read > most {
            return Err(Refused::TooLarge { what, most });
        }
        if hold.grow(piece.len()) { Ok(piece) } else { Err(Refused::Busy) }
    })
}

async fn whole(mut stream: impl Stream<Item = Result<Bytes, Refused>> + Unpin) -> Result<Bytes, Refused> {
    let mut data = BytesMut::new();
    while let Some(piece) = stream.next().await {
        data.extend_from_slice(&piece?);
    }
    Ok(data.freeze())
}

/// The files of a form. Fields that are no files are refused, so that a misspelt one is not overlooked.
async fn files(body: Bytes, boundary: &str, most: &Most) -> Result<Vec<Part>, Refused> {
    let body = stream::once(async move { Ok::<_, Infallible>(body) });
    let limits = multer::SizeLimit::new().per_field(most.image_bytes as u64);
    let mut form = Multipart::with_constraints(body, boundary, Constraints::new().size_limit(limits));
    let failed = |error| of_form(error, most);
    let mut images = Vec::new();
    while let Some(field) = form.next_field().await.map_err(failed)? {
        let names = [field.name(), field.file_name()];
        if names.into_iter().flatten().any(|name| name.len() > MAX_NAME) {
            return Err(Refused::Request(format!(
                "the name of a field or of a file has more than {MAX_NAME} bytes"
            )));
        }
        let Some(name) = field.file_name().map(shortened) else {
            let field = shortened(field.name().unwrap_or_default());
            return Err(Refused::Request(format!(
                "the field {field:?} is no file; a label is said by `?label=`"
            )));
        };
        if images.len() >= most.images {
            return Err(Refused::Request(format!("a request has at most {} images", most.images)));
        }
        let said = field.content_type().and_then(|said| encoding(said.essence_str()));
        let data = field.bytes().await.map_err(failed)?;
        let part = image(&format!("the file {name:?}"), &data)?;
        if let Some(said) = said.filter(|said| *said != part.encoding) {
            let (said, is) = (media_type(said), media_type(part.encoding));
            return Err(Refused::Request(format!(
                "the content type of the file {name:?} says {said}, and it is {is}"
            )));
        }
        images.push(part);
    }
    match images.is_empty() {
        true => Err(Refused::Request("the form has no file".to_owned())),
        false => Ok(images),
    }
}

/// What an error of a form means.
fn of_form(error: multer::Error, most: &Most) -> Refused {
    match error {
        multer::Error::FieldSizeExceeded { .. } => {
            Refused::TooLarge { what: "a file", most: most.image_bytes }
        }
        other => {
            let cause = other.source().map(|source| format!(": {source}")).unwrap_or_default();
            Refused::Request(format!("{FORM}: {}", shortened(&format!("{other}{cause}"))))
        }
    }
}

/// The beginning of a text of the request, for an error.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_ECHO) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
