//! The kinds of the API, by name.

use std::{fmt, str::FromStr};

/// A kind of the group `switchyard.dev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Identical proxies at one site.
    ProxyPool,
    /// One way through.
    ProxyChain,
}

impl Kind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::ProxyPool, Self::ProxyChain];

    /// As manifests write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProxyPool => "ProxyPool",
            Self::ProxyChain => "ProxyChain",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| {
                format!(
                    "{text:?} is not a kind of {}: it has ProxyPool and ProxyChain",
                    crate::GROUP
                )
            })
    }
}
