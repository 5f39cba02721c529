//! Frames inside a sealed DATA datagram.
