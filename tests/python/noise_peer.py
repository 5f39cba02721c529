"""One side of a Noise handshake by the package `noiseprotocol`, for the row H22-PYTHON.

Reads a JSON object from the first line of standard input: `name`, `initiator`, `prologue`, and where the
pattern has them `static` (private), `remote_static` (public) and `psk`; bytes as hex. Then it says its
messages and hears the other side's, one line of hex each. In the end it says `hash` and `keys`: the
handshake's hash, the initiator's sending key and the responder's. A message that does not open ends it with 3.
"""

import json
import sys

from cryptography.exceptions import InvalidTag
from noise.connection import Keypair, NoiseConnection


def main() -> int:
    task = json.loads(sys.stdin.readline())
    noise = NoiseConnection.from_name(task["name"].encode())
    noise.set_prologue(bytes.fromhex(task["prologue"]))
    if "psk" in task:
        noise.set_psks(psk=bytes.fromhex(task["psk"]))
    if "static" in task:
        noise.set_keypair_from_private_bytes(Keypair.STATIC, bytes.fromhex(task["static"]))
    if "remote_static" in task:
        noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, bytes.fromhex(task["remote_static"]))
    if task["initiator"]:
        noise.set_as_initiator()
    else:
        noise.set_as_responder()
    noise.start_handshake()
    mine = task["initiator"]
    while not noise.handshake_finished:
        if mine:
            print(noise.write_message().hex(), flush=True)
        else:
            try:
                noise.read_message(bytes.fromhex(sys.stdin.readline()))
            except InvalidTag:
                return 3
        mine = not mine
    protocol = noise.noise_protocol
    keys = [protocol.cipher_state_encrypt.k, protocol.cipher_state_decrypt.k]
    if not task["initiator"]:
        keys.reverse()
    print(json.dumps({"hash": noise.get_handshake_hash().hex(), "keys": [key.hex() for key in keys]}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
