//! Messages, receipts, outbox and sync
