//! Variable-length integers (RFC 9000 section 16), refused when not minimal.
