//! Lists, a page at a time.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// Items of a page unless the request says otherwise, and the most it may ask for.
const USUAL: usize = 100;
const MOST: usize = 500;

/// A page of a list.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Give it as `after` for the next page; null: there are no more.
    pub next: Option<String>,
}

/// How many items a page has at most: 1 to 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub usize);

impl Default for Limit {
    fn default() -> Self {
        Self(USUAL)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let limit = usize::deserialize(d)?;
        match (1..=MOST).contains(&limit) {
            true => Ok(Self(limit)),
            false => Err(serde::de::Error::custom(format_args!("1 to {MOST} is expected"))),
        }
    }
}
