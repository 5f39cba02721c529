//! File transfer: offer, manifest, sender and receiver, without files
