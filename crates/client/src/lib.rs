//! The client as a library: sockets, files, threads, Client and Events
