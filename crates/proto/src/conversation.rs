//! Bodies on the conversation streams: text, receipts, sync.
