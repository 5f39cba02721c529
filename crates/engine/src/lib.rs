//! Composes session, transfer, conversation and the broker link into one client
