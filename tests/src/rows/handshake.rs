//! Offers, introductions and the handshake.

use super::Row;

mod endpoints;
mod faults;
mod inits;
mod line;
mod messages;
pub(super) mod noise;
mod offers;
pub(super) mod people;
mod pins;
pub(super) mod recorded;
mod replays;
mod reunion;
pub(super) mod second;
pub(super) mod twisted;
pub(super) mod vectors;

/// The rows of this subject.
pub const ROWS: &[Row] = &[
    Row {
        id: "H1",
        attack: "published Noise vectors (cacophony, snow) for the shipped primitives, through our resolver",
        expected: "every message, payload and hash byte for byte",
        run: vectors::published,
    },
    Row {
        id: "H2",
        attack: "golden transcript from offers to the first packet, and a second implementation of it",
        expected: "the recorded bytes; a change needs a version bump",
        run: vectors::golden,
    },
    Row {
        id: "H3",
        attack: "each bit of each handshake datagram flipped, then the datagram itself",
        expected: "no trace, and the real one is taken",
        run: messages::flipped_bits,
    },
    Row {
        id: "H4",
        attack: "each handshake datagram cut or extended to every length from 0 to 1,500",
        expected: "silence, and the real one is taken",
        run: messages::lengths,
    },
    Row {
        id: "H5",
        attack: "two who saw different offers: each byte of both changed, dropped, swapped; empty prologue",
        expected: "the handshake fails at message 1",
        run: offers::transcripts,
    },
    Row {
        id: "H6",
        attack: "the end of the request moved to every other place among the offers' bytes",
        expected: "another transcript",
        run: offers::boundaries,
    },
    Row {
        id: "H7",
        attack: "an introduced attacker with a wrong psk: zero, random, each bit changed",
        expected: "refused at message 3, no keys",
        run: noise::wrong_psk,
    },
    Row {
        id: "H8",
        attack: "Wycheproof's weak and misspelled points as ephemeral and static keys",
        expected: "refused as weak keys, never computed with",
        run: noise::weak_points,
    },
    Row {
        id: "H9",
        attack: "message 3 claims bob's static key and fails; the claim is read afterwards",
        expected: "nothing is left to read it from",
        run: noise::claimed_static,
    },
    Row {
        id: "H10",
        attack: "a whole recorded session, its messages 1 and 3, at a new introduction; a resumed one where it was and at old copies",
        expected: "no answer, no session, no message",
        run: replays::replayed,
    },
    Row {
        id: "H11",
        attack: "every datagram sent back to its sender; initiators against each other; oneself as peer",
        expected: "dropped or refused",
        run: messages::reflected,
    },
    Row {
        id: "H12",
        attack: "a thief of bob's keys poses as alice to bob (KCI), in both roles",
        expected: "no handshake finishes",
        run: noise::stolen_key,
    },
    Row {
        id: "H13",
        attack: "the broker changes each field and byte of offers, signatures and endpoints",
        expected: "refused; no introduction, no datagram",
        run: offers::tampered,
    },
    Row {
        id: "H14",
        attack: "offers that are expired, of the future, for others, of another broker, replayed",
        expected: "refused, each for its reason",
        run: offers::out_of_place,
    },
    Row {
        id: "H15",
        attack: "somebody else under a pinned name, as asker and as accepter, at the real programs",
        expected: "blocked and said; no datagram leaves",
        run: pins::other_key,
    },
    Row {
        id: "H16",
        attack: "two contacts dial each other at once, 1,000 timings, with loss",
        expected: "exactly one session stays",
        run: reunion::glare,
    },
    Row {
        id: "H17",
        attack: "each message of the handshake lost, doubled, overtaken, 90 s late; 300 lines that do all of it",
        expected: "a session, or a clean end after 20 s",
        run: faults::faults,
    },
    Row {
        id: "H18",
        attack: "every handshake message of this session and an older one, replayed and forged, beside a live one",
        expected: "no line is lost, no key exchange, no answer to a forgery",
        run: faults::live,
    },
    Row {
        id: "H19",
        attack: "an introduced peer sends data before message 3, and message 3 twice",
        expected: "dropped; no second session, no second key exchange",
        run: messages::out_of_turn,
    },
    Row {
        id: "H20",
        attack: "INITs with a right MAC without end: new, repeated, of 1 and 60 contacts, of spoofed sources; handshakes without end",
        expected: "the limits of protocol section 4 hold; others are answered",
        run: inits::flood,
    },
    Row {
        id: "H21",
        attack: "another version, no suites, suites taken away on the way, KEM left out or of another length",
        expected: "refused; nobody in between chooses the suite",
        run: offers::downgraded,
    },
    Row {
        id: "H22",
        attack: "handshakes with another implementation: snow 0.9.6 with primitives and key schedule of its own",
        expected: "both roles finish and read each other",
        run: noise::another_implementation,
    },
    Row {
        id: "H23",
        attack: "an introduced attacker with the psk uses another static key than it offered",
        expected: "refused although Noise succeeds",
        run: noise::other_static,
    },
    Row {
        id: "H24",
        attack: "crashes in a resumed handshake, between two generations of secrets, 1,000 timings, with loss",
        expected: "a common generation always remains; they meet again",
        run: reunion::crashes,
    },
    Row {
        id: "H25",
        attack: "a removed, blocked or 31-day-old contact, and any while one is invisible, dials directly",
        expected: "no answer",
        run: reunion::unwanted,
    },
    Row {
        id: "H26",
        attack: "one and five unused INITs of other attempts arrive before the real one",
        expected: "the real one connects",
        run: messages::recorded_init,
    },
    Row {
        id: "H26B",
        attack: "the same with a contact's ticket, without the broker",
        expected: "the real one connects",
        run: reunion::recorded_init,
    },
    Row {
        id: "H27",
        attack: "a damaged KEM ciphertext under a right signature, an all-0xFF KEM key, counters that go back",
        expected: "aborted at once",
        run: offers::damaged_kem,
    },
    Row {
        id: "H28",
        attack: "tickets of one contact over a day, from two networks",
        expected: "not linkable without the key; windows of neighbours accepted",
        run: reunion::tickets,
    },
    Row {
        id: "H29",
        attack: "sealed endpoints that name loopback, multicast, broadcast, port 0, a third party",
        expected: "never dialled, or within the limits",
        run: endpoints::announced,
    },
];
