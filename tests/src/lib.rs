//! Everything that needs more than one part, on real servers.
