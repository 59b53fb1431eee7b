//! The conditions of both kinds and their reasons, as statuses carry them.
//!
//! Conditions are positive: `True` is what one hopes for. Reasons are Gateway API's where one fits.

use std::fmt;

/// Turns each variant into the text that the API carries: its own name.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As the API carries it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

named! {
    /// What a condition is about. A pool has all but `PrimaryActive`.
    ConditionType {
        /// The object is valid and nothing of the same namespace stands in its way.
        Accepted,
        /// Everything it refers to is there and may be used.
        ResolvedRefs,
        /// Every proxy runs this generation.
        Programmed,
        /// Tier 0 of the chain itself serves.
        PrimaryActive,
        /// A pool's proxies are up; a client of the chain is served now, by it or by a redirect.
        Ready,
    }
}

named! {
    /// Why a condition has its status, in one word.
    Reason {
        /// The object is accepted.
        Accepted,
        /// The object breaks a rule that needs other objects.
        Invalid,
        /// An older object has the name, port or hostname that this one wants.
        Conflicted,
        /// Not looked at yet, or not finished.
        Pending,
        /// A value is valid, but this version cannot do it.
        UnsupportedValue,
        /// A field has no effect here; the message names it.
        FieldIgnored,
        /// The workload needs a namespace with fewer restrictions (Pod Security).
        PrivilegedNamespaceRequired,
        /// A field needs the client's address, and the way clients come hides it.
        ClientAddressHidden,
        /// The pool that `poolRef` names is not there, or has no such listener.
        NoMatchingParent,
        /// All references are resolved.
        ResolvedRefs,
        /// A Service or host that a backend names does not exist.
        BackendNotFound,
        /// A Secret with a certificate is missing or does not hold one.
        InvalidCertificateRef,
        /// A Secret with credentials or a key is missing or does not hold them.
        InvalidSecretRef,
        /// Backend and listener do not speak the same protocol.
        UnsupportedProtocol,
        /// Every proxy runs this generation.
        Programmed,
        /// Some proxies do not run this generation yet; the message counts them.
        PartiallyProgrammed,
        /// A proxy refused the configuration; the message says why.
        ConfigRejected,
        /// The Service has no address yet.
        AddressNotAssigned,
        /// No proxy is up.
        NoReadyProxies,
        /// The proxies are up.
        Ready,
        /// The primary tier serves.
        Serving,
        /// A backup tier serves.
        OnBackup,
        /// Endpoints serve although the resolver no longer answers for them.
        ServingStale,
        /// Clients are redirected to another chain of the group.
        Redirecting,
        /// No endpoint passes its monitors.
        NoHealthyBackends,
        /// `suspend` is set.
        Suspended,
        /// The proxies do not report.
        Unknown,
    }
}

named! {
    /// The reason of an event, one per transition.
    EventReason {
        /// A lower tier took over.
        FailedOver,
        /// A higher tier took back.
        FailedBack,
        /// Clients are sent to another chain.
        RedirectStarted,
        /// Clients are no longer sent to another chain.
        RedirectEnded,
        /// Endpoints outlive a resolver that no longer answers.
        EndpointsStale,
        /// A backend left rotation.
        BackendDown,
        /// A backend came back into rotation.
        BackendUp,
        /// A proxy refused a configuration.
        ConfigRejected,
    }
}
