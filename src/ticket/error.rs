//! Why a ticket is refused.

use crate::event::ErrorCode;

/// One variant for each way of being wrong. None carries text of the ticket: the message may be logged and sent to anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    #[error("the ticket is longer than {} characters", super::usersig::MAX_TEXT)]
    TextTooLong,
    #[error("the ticket is not base64 in the alphabet of UserSig (* - _ instead of + / =)")]
    Base64,
    #[error("the ticket is not a zlib stream")]
    Zlib,
    #[error("the ticket inflates to more than {} bytes", super::usersig::MAX_JSON)]
    JsonTooLong,
    #[error("the ticket is not a JSON object")]
    Json,
    #[error("the ticket has a member twice")]
    DuplicateMember,
    #[error("the ticket lacks {0}, or it is not {1}")]
    Member(&'static str, &'static str),
    #[error("the ticket is of another version than 2.0")]
    Version,
    #[error("the ticket's userbuf is not a PrivateMapKey: {0}")]
    MapKey(&'static str),
    #[error("the ticket is for another application")]
    OtherApp,
    #[error("the ticket was signed with another key")]
    WrongKey,
    #[error("the ticket is for another user")]
    OtherUser,
    #[error("the ticket is from the future: check the clocks of its maker and of this server")]
    FromTheFuture,
    #[error("the ticket has expired")]
    Expired,
}

impl TicketError {
    /// The number that clients are told.
    pub const fn code(self) -> ErrorCode {
        match self {
            TicketError::Expired => ErrorCode::UserSigExpired,
            TicketError::WrongKey => ErrorCode::UserSigWrongKey,
            TicketError::OtherUser => ErrorCode::UserMismatch,
            TicketError::OtherApp => ErrorCode::SdkAppIdMismatch,
            TicketError::TextTooLong
            | TicketError::Base64
            | TicketError::Zlib
            | TicketError::JsonTooLong
            | TicketError::Json
            | TicketError::DuplicateMember
            | TicketError::Member(..)
            | TicketError::Version
            | TicketError::MapKey(_)
            | TicketError::FromTheFuture => ErrorCode::UserSigInvalid,
        }
    }
}
