//! The data plane: resolve, check, rotate, relay.
