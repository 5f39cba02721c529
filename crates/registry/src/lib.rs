//! The broker's rules: presence, requests, limits and policy
