//! A seeded network of hosts and links with loss, delay and limits, for tests
