//! The five kinds of UDP datagram: INIT, RESP, FIN, DATA, PUNCH.
