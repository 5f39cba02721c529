//! The broker: its link, its names, its requests, and a broker that is the attacker.

mod forged;
mod ghosts;
mod hostile;
mod link;
mod load;
mod rotation;
mod rules;
mod service;
mod swallows;

use super::Row;

/// The rows of this subject.
pub const ROWS: &[Row] = &[
    Row {
        id: "B1",
        attack: "the signature of a login, replayed",
        expected: "refused on a second link and at another broker",
        run: link::replayed_login,
    },
    Row {
        id: "B2",
        attack: "a login passed on by a rogue broker",
        expected: "refused at the real one",
        run: link::relayed_login,
    },
    Row {
        id: "B3",
        attack: "a broker with another key than the known one",
        expected: "the client ends and never says who it is",
        run: link::wrong_key,
    },
    Row {
        id: "B6",
        attack: "another key for a name: unsigned, of an old key, replayed, for another broker, of somebody else",
        expected: "refused, and the name stays whose it is",
        run: rotation::rotation,
    },
    Row {
        id: "B7",
        attack: "somebody else's offer, name, request id, answers, endpoints, cancels, and a broker's own words",
        expected: "`from` and `name` are the login's; nobody speaks in a request of others, or as the broker",
        run: forged::forged,
    },
    Row {
        id: "B8",
        attack: "answers nobody asked for, twice, crossing",
        expected: "nothing is forwarded that the state does not allow",
        run: rules::requests,
    },
    Row {
        id: "B12",
        attack: "one byte a second before the login",
        expected: "closed after 5 s",
        run: load::slowloris,
    },
    Row {
        id: "B13",
        attack: "length prefixes 0, 1, too long, 2^64-1",
        expected: "closed, with bounded memory",
        run: load::lengths,
    },
    Row {
        id: "B14",
        attack: "kill -9 of the broker, and its restart",
        expected: "names kept, clients back, chats went on",
        run: service::crash,
    },
    Row {
        id: "B15",
        attack: "a host that loses power, lines cut both ways and one way, one key at two places",
        expected: "the ghost is gone after 40 s; the newest login wins, the older is told and keeps away, the newer is welcomed",
        run: ghosts::ghosts,
    },
    Row {
        id: "B16",
        attack: "a broker that swallows for ever, reorders, lies, floods",
        expected: "the client lives, sends no datagram there, stays small, and says in time what came to nothing",
        run: hostile::broker,
    },
    Row {
        id: "B17",
        attack: "search for message bodies at the broker",
        expected: "in no byte of its links, memory, output or data",
        run: service::content,
    },
];
