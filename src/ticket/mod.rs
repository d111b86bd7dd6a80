//! Log-in tickets, byte-compatible with TLSSigAPIv2: the UserSig and the PrivateMapKey that some of them carry; and the passes that open the
//! operator's console.
//!
//! Pure: the time is an argument. Nothing of a ticket is believed before its signature is checked, and what is decoded before that
//! is bounded ([`usersig::MAX_TEXT`], [`usersig::MAX_JSON`]).

pub mod console;
pub mod error;
pub mod mapkey;
pub mod usersig;

pub use console::{ConsoleKey, OpenedLinks, Pass as ConsolePass};
pub use error::TicketError;
pub use mapkey::{MapKey, Privileges};
pub use usersig::{Ticket, TicketKey};
