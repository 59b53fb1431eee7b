//! The forms that texts must have: a pattern for the API server, and the same in words for people.

/// What a text must look like.
pub(crate) struct Form {
    /// The regular expression.
    pub pattern: &'static str,
    /// What to write, as an order.
    pub says: &'static str,
}

/// RFC 1123 label: names of things inside one object.
pub(crate) const LABEL: Form = Form {
    pattern: "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
    says: "use lowercase letters, digits and '-', beginning and ending with a letter or digit",
};

/// RFC 1123 subdomain: names of objects.
pub(crate) const SUBDOMAIN: Form = Form {
    pattern: "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    says: "use lowercase letters, digits, '-' and '.', beginning and ending with a letter or digit",
};

/// RFC 1035 label: names of Services.
pub(crate) const SERVICE_NAME: Form = Form {
    pattern: "^[a-z]([-a-z0-9]*[a-z0-9])?$",
    says: "use lowercase letters, digits and '-', beginning with a letter and ending with a letter or digit",
};

/// RFC 6335 §5.1: names of ports.
pub(crate) const PORT_NAME: Form = Form {
    pattern: "^([a-z0-9]+-)*[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*$",
    says: "use lowercase letters, digits and single '-' between them, with at least one letter",
};

/// Gateway API's durations (GEP-2257).
pub(crate) const DURATION: Form = Form {
    pattern: "^([0-9]{1,5}(h|m|s|ms)){1,4}$",
    says: "write a duration: one to four whole numbers of up to five digits, each with its unit h, m, s or ms, as in 500ms or 1h30m",
};

/// A whole number of percent.
pub(crate) const PERCENT: Form = Form {
    pattern: "^([0-9]{1,2}|100)%$",
    says: "write a share from 0% to 100%, in whole percent",
};

/// A DNS name with placeholders.
pub(crate) const TEMPLATE: Form = Form {
    pattern: "^([A-Za-z0-9]|[{](proxy|node|chain)[}])([-.A-Za-z0-9]|[{](proxy|node|chain)[}])*$",
    says: "write a DNS name, in which {proxy}, {node} and {chain} stand for what differs",
};

/// Gateway API's hostnames: lowercase, the first label possibly `*`.
pub(crate) const HOSTNAME: Form = Form {
    pattern: "^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    says: "write a DNS name in lowercase (international names as xn--…), its first label possibly '*'",
};

/// RFC 2782: names of SRV records.
pub(crate) const SRV: Form = Form {
    pattern: "^_[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?[.]_[A-Za-z]+([.][A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9])?)+[.]?$",
    says: "write the name of an SRV record, as in _sync._tcp.corp.example",
};

/// RFC 9110 §7.1, origin form.
pub(crate) const HTTP_PATH: Form = Form {
    pattern: "^/[!-\"$-~]*$",
    says: "write a path that begins with '/', without spaces and '#'",
};

/// RFC 9110 §5.1: names of headers.
pub(crate) const HEADER_NAME: Form = Form {
    pattern: "^[-!#$%&'*+.^_`|~0-9A-Za-z]+$",
    says: "write the name of a header, as in X-Tenant: letters, digits and !#$%&'*+-.^_`|~",
};

/// RFC 9110 §5.5, without what is obsolete: values of headers.
pub(crate) const HEADER_VALUE: Form = Form {
    pattern: "^[!-~]([ -~]*[!-~])?$",
    says: "write visible ASCII characters, with spaces only between them",
};

/// A time of day.
pub(crate) const TIME_OF_DAY: Form = Form {
    pattern: "^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$",
    says: "write a time of day as HH:MM or HH:MM:SS, as in \"07:00\"",
};

/// A day, not necessarily of the calendar.
pub(crate) const DATE: Form = Form {
    pattern: "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
    says: "write a day as YYYY-MM-DD, as in \"2026-12-25\"",
};

/// A name of the time zone database.
pub(crate) const TIME_ZONE: Form = Form {
    pattern: "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$",
    says: "write a name of the time zone database, as in Europe/London",
};

/// All of them, to find the words for a pattern that did not match.
pub(crate) const ALL: [&Form; 15] = [
    &LABEL,
    &SUBDOMAIN,
    &SERVICE_NAME,
    &PORT_NAME,
    &DURATION,
    &PERCENT,
    &TEMPLATE,
    &HOSTNAME,
    &SRV,
    &HTTP_PATH,
    &HEADER_NAME,
    &HEADER_VALUE,
    &TIME_OF_DAY,
    &DATE,
    &TIME_ZONE,
];
