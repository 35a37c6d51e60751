#!/usr/bin/env python3
"""Computes signed_adverts.txt, the test vectors of signed adverts, with Python's hashlib and hmac:

    python3 tests/witness/vectors/signed_adverts.py > tests/witness/vectors/signed_adverts.txt
"""

import hashlib
import hmac
import ipaddress
import struct

KEY = bytes(range(32))
LONGEST_KEY = bytes(range(0x80, 0xC0))
SEQUENCE = 0x6925_F0A0_8000_0001
GROUPS = {4: ipaddress.ip_address("224.0.0.18"), 6: ipaddress.ip_address("ff02::12")}


def checksum(data):
    words = struct.unpack(f"!{len(data) // 2}H", data)
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def message(version, source, vrid, priority, interval, addresses):
    """Returns a VRRP message with its checksum."""
    body = b"".join(address.packed for address in addresses)
    if version == 2:
        body += bytes(8)
    head = struct.pack("!BBBBH", version << 4 | 1, vrid, priority, len(addresses), interval)
    length = len(head) + 2 + len(body)
    covered = head + bytes(2) + body
    if source.version == 6:
        covered = source.packed + GROUPS[6].packed + struct.pack("!II", length, 112) + covered
    elif version == 3:
        covered = source.packed + GROUPS[4].packed + struct.pack("!HH", 112, length) + covered
    return head + struct.pack("!H", checksum(covered)) + body


def trailer(key, key_id, sequence, source, message):
    """Returns the trailer of a VRRP message."""
    version, vrid = message[0] >> 4, message[1]
    pseudo_header = bytes([source.version, version, vrid, 0]) + source.packed.ljust(16, b"\0")
    start = struct.pack("!BBHQ", 1, key_id, 0, sequence)
    covered = pseudo_header + message[:6] + bytes(2) + message[8:] + start + bytes(16)
    return start + hmac.new(key, covered, hashlib.sha256).digest()[:16]


def vector(name, version, source, vrid, priority, interval, addresses, key=KEY, key_id=7, sequence=SEQUENCE):
    source = ipaddress.ip_address(source)
    addresses = [ipaddress.ip_address(address) for address in addresses]
    sent = message(version, source, vrid, priority, interval, addresses)
    appended = trailer(key, key_id, sequence, source, sent)
    print(f"\nname {name}\nkey {key.hex()}\nsource {source}\nmessage {sent.hex()}\ntrailer {appended.hex()}")


def consecutive(first, count):
    return [ipaddress.ip_address(first) + number for number in range(count)]


print("# Signed adverts to 224.0.0.18 or ff02::12, computed by signed_adverts.py. keepalived 2.4.3 signs the")
print("# first two in the same way.")
vector("ipv4", 3, "192.0.2.11", 51, 200, 10, ["192.0.2.50"])
vector("ipv6", 3, "fe80::11", 51, 100, 100, ["fe80::50", "2001:db8::50"])
vector("vrrpv2", 2, "192.0.2.11", 51, 200, 1, ["192.0.2.50", "192.0.2.51"])
vector("ipv4-255-addresses", 3, "198.51.100.1", 255, 254, 100, consecutive("10.0.0.1", 255))
vector("vrrpv2-255-addresses", 2, "198.51.100.1", 1, 1, 255, consecutive("10.0.0.1", 255))
vector("ipv6-3-addresses", 3, "fe80::200:ff:fe00:1", 7, 255, 4095, ["fe80::7", "2001:db8::7", "2001:db8:1::7"])
vector("ipv6-73-addresses", 3, "fe80::11", 2, 150, 100, consecutive("fe80::100", 73))
vector("key-of-64-bytes", 3, "192.0.2.11", 51, 200, 10, ["192.0.2.50"], LONGEST_KEY, 255)
vector("key-of-64-bytes-ipv6", 3, "fe80::11", 51, 100, 100, ["fe80::50"], LONGEST_KEY, 1)
vector("priority-0", 3, "192.0.2.11", 51, 0, 100, ["192.0.2.50"])
vector("highest-sequence", 3, "192.0.2.11", 51, 200, 10, ["192.0.2.50"], sequence=2**64 - 1)
