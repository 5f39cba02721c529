//! Identity, offers, introductions, handshakes, session keys and sealing
