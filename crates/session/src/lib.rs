//! The encrypted, reliable session over UDP, without a socket or a clock
