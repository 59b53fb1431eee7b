//! Releases and how far apart they may be. In: what both ends say of themselves. Out: whether they may talk, in words.

use std::fmt;
use std::str::FromStr;

/// `MAJOR.MINOR.PATCH`, as in Semantic Versioning 2.0.0; what follows (`-rc.1`, `+build`) counts for nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    /// Nothing is promised across these.
    pub major: u32,
    /// One apart is fine.
    pub minor: u32,
    /// Any may talk to any.
    pub patch: u32,
}

/// The text is not a release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a release: MAJOR.MINOR.PATCH is")]
pub struct NotARelease(String);

/// Two releases that are too far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the proxy is release {proxy} and the operator is release {operator}: they may be one minor release apart, not more; \
     upgrade the {} one minor release at a time", older(*proxy, *operator)
)]
pub struct TooFarApart {
    proxy: Release,
    operator: Release,
}

impl Release {
    /// The one this program was built as.
    pub fn ours() -> Self {
        env!("CARGO_PKG_VERSION").parse().unwrap_or(Self {
            major: 0,
            minor: 0,
            patch: 0,
        })
    }
}

/// Whether a proxy and an operator may talk.
///
/// # Errors
/// They are more than one minor release apart.
pub fn check(proxy: Release, operator: Release) -> Result<(), TooFarApart> {
    if proxy.major == operator.major && proxy.minor.abs_diff(operator.minor) <= 1 {
        Ok(())
    } else {
        Err(TooFarApart { proxy, operator })
    }
}

fn older(proxy: Release, operator: Release) -> &'static str {
    if proxy < operator { "proxy" } else { "operator" }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Release {
    type Err = NotARelease;

    fn from_str(text: &str) -> Result<Self, NotARelease> {
        let core = text.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = core.split('.').map(|part| {
            let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| part.parse().ok()).flatten()
        });
        let mut next = || numbers.next().flatten();
        match (next(), next(), next(), next()) {
            (Some(major), Some(minor), Some(patch), None) if core.split('.').count() == 3 => {
                Ok(Self { major, minor, patch })
            }
            _ => Err(NotARelease(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(text: &str) -> Release {
        text.parse().unwrap()
    }

    #[test]
    fn one_minor_apart_is_fine_and_more_is_refused_in_words() {
        for (proxy, operator, fine) in [
            ("0.1.0", "0.1.9", true),
            ("0.1.0", "0.2.0", true),
            ("0.2.0", "0.1.0", true),
            ("0.1.0", "0.3.0", false),
            ("0.3.0", "0.1.0", false),
            ("1.0.0", "0.1.0", false),
            ("1.4.0", "2.4.0", false),
            ("1.4.0-rc.1", "1.5.0+build.7", true),
        ] {
            assert_eq!(
                check(release(proxy), release(operator)).is_ok(),
                fine,
                "{proxy} {operator}"
            );
        }
        assert_eq!(
            check(release("0.1.7"), release("0.3.0")).unwrap_err().to_string(),
            "the proxy is release 0.1.7 and the operator is release 0.3.0: they may be one minor release apart, not more; \
             upgrade the proxy one minor release at a time"
        );
    }

    #[test]
    fn what_is_no_release_is_said_to_be_none() {
        for nonsense in [
            "",
            "1",
            "1.2",
            "1.2.x",
            "1..2",
            "1.2.3.4",
            "1.2.-3",
            "99999999999.0.0",
        ] {
            assert!(nonsense.parse::<Release>().is_err(), "{nonsense:?}");
        }
        assert_eq!(Release::ours().to_string(), env!("CARGO_PKG_VERSION"));
    }
}
