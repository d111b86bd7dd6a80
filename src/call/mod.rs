//! Who is in which call, and what everyone must be told. Sans-IO; knows no media, no sockets and no webhooks.

pub mod machine;
mod order;
pub mod party;
pub mod presence;
pub mod refusal;
pub mod sanctions;
mod tell;

pub use machine::{Call, Invitee, Kind, Limits, Member, Output, Placing, Recipient};
pub use party::{Link, Media, Party, State};
pub use presence::Presence;
pub use refusal::Refusal;
pub use sanctions::Sanctions;
