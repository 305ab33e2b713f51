//! Why a request is turned away, and how that is said over HTTP and over gRPC.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tonic::{Code, Status};

use super::Role;
use crate::ConfigField;

/// Why a request is turned away. Its message names the setting to change and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Neither a token nor the secret of the cluster.
    #[error(
        "this server asks who you are: send `authorization: Bearer TOKEN` ({})",
        ConfigField::AccessToken
    )]
    NoCredential,
    /// A token that nobody has.
    #[error("the server does not know this token ({})", ConfigField::AccessToken)]
    WrongCredential,
    /// A user whose role is too small.
    #[error("this takes the role {needed}, and {name} has the role {has} ({})", ConfigField::AccessTokens)]
    Role {
        /// The user.
        name: String,
        /// The user's role.
        has: Role,
        /// The least role that would do.
        needed: Role,
    },
    /// A user, where only a member of the cluster may ask.
    #[error(
        "only a member of the cluster may ask this, and {name} is a user ({})",
        ConfigField::AccessClusterSecret
    )]
    NotMember {
        /// The user.
        name: String,
    },
    /// A name under which the server is not known.
    #[error("the server is not known under the name {0:?} ({setting})", setting = ConfigField::AccessHosts)]
    Host(String),
    /// A web page of another origin.
    #[error("pages of {0:?} may not ask this server ({setting})", setting = ConfigField::AccessOrigins)]
    Origin(String),
    /// A call of gRPC that does not say that it is one.
    #[error("a gRPC call has the content type application/grpc")]
    ContentType,
    /// A request for what others own.
    #[error("{0}")]
    Denied(String),
}

impl Refusal {
    /// The status over HTTP.
    #[must_use]
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::NoCredential | Self::WrongCredential => StatusCode::UNAUTHORIZED,
            Self::Role { .. } | Self::NotMember { .. } | Self::Origin(_) | Self::Denied(_) => {
                StatusCode::FORBIDDEN
            }
            Self::Host(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// The code over gRPC.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NoCredential | Self::WrongCredential => Code::Unauthenticated,
            Self::Role { .. }
            | Self::NotMember { .. }
            | Self::Origin(_)
            | Self::Denied(_)
            | Self::Host(_) => Code::PermissionDenied,
            Self::ContentType => Code::InvalidArgument,
        }
    }

    /// The answer to a call of gRPC. A refusal that no client of gRPC can cause by a credential keeps its status of HTTP.
    pub(super) fn into_grpc(self) -> Response {
        let http = match self {
            Self::Host(_) | Self::Origin(_) | Self::ContentType => self.http_status(),
            _ => StatusCode::OK,
        };
        let mut response: Response = Status::from(self).into_http();
        *response.status_mut() = http;
        response
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.http_status(), format!("{self}\n")).into_response();
        if response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
