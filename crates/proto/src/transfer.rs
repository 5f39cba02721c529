//! Bodies that control file transfers, the carrier's hello and its records.
