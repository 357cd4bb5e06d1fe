"""Packets that Linux drops before a listening socket sees them, by classic BPF programs."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from typing import TypeAlias

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_INSTRUCTION = struct.Struct("HBBI")
_LOAD_BYTE, _LOAD_WORD, _SHIFT_RIGHT = 0x30, 0x20, 0x74
_IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x15, 0x45, 0x06
_FLAGS, _SYN = 13, 0x02
_IP_HEADER = 0xFFF00000
"""Where the IP header begins; other places are counted from the TCP header."""
_IPV4_SOURCE, _IPV6_SOURCE = _IP_HEADER + 12, _IP_HEADER + 8
_ALL_BYTES = 0xFFFFFFFF
MAX_CLIENTS = 60
"""The most clients in one program, whose jumps reach 255 instructions far."""

_Line: TypeAlias = tuple[int, str, str, int]
"""An instruction, the labels to which it jumps if true and if not, and its constant."""


def drop_new_connections(listener: socket.socket, clients: Iterable[str] | None = None) -> None:
    """Drop the packets (SYN) that ask a listening socket for new connections; others are kept.

    Clients repeat them after one second, then two, and so on. It does nothing where the system has no such filters.

    Args:
        listener: the socket.
        clients: the addresses, as `connections.client_of` returns them, 60 at most; none to drop no more packets,
            None to drop those of all clients.

    Raises:
        OSError: the system refuses the program.
    """
    if sys.platform != "linux":
        return
    if clients is None:
        program = _compiled([(_LOAD_BYTE, "", "", _FLAGS), (_IF_ANY_BIT, "drop", "", _SYN)])
    elif chosen := list(clients)[:MAX_CLIENTS]:
        program = _from_clients(chosen)
    else:
        listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        return
    buffer = ctypes.create_string_buffer(program)
    pointer = struct.pack("HP", len(program) // _INSTRUCTION.size, ctypes.addressof(buffer))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)


def _from_clients(clients: Sequence[str]) -> bytes:
    # An IPv6 client has 16 digits: the first half of its addresses. A jump to `ipv6` leads behind the IPv4 clients.
    lines: list[_Line] = [
        (_LOAD_BYTE, "", "", _FLAGS),
        (_IF_ANY_BIT, "", "keep", _SYN),
        (_LOAD_BYTE, "", "", _IP_HEADER),
        (_SHIFT_RIGHT, "", "", 4),
        (_IF_EQUAL, "", "ipv6", 4),
        (_LOAD_WORD, "", "", _IPV4_SOURCE),
        *((_IF_EQUAL, "drop", "", int(IPv4Address(client))) for client in clients if "." in client),
        (_RETURN, "", "", _ALL_BYTES),
    ]
    at_ipv6 = len(lines)
    for client in clients:
        if "." not in client:
            lines += [
                (_LOAD_WORD, "", "", _IPV6_SOURCE),
                (_IF_EQUAL, "", "next", int(client[:8], 16)),
                (_LOAD_WORD, "", "", _IPV6_SOURCE + 4),
                (_IF_EQUAL, "drop", "", int(client[8:], 16)),
            ]
    return _compiled(lines, at_ipv6)


def _compiled(lines: Sequence[_Line], at_ipv6: int = 0) -> bytes:
    keep, drop = len(lines), len(lines) + 1
    ends: list[_Line] = [(_RETURN, "", "", _ALL_BYTES), (_RETURN, "", "", 0)]

    def distance(label: str, at: int) -> int:
        places = {"": at + 1, "keep": keep, "drop": drop, "ipv6": at_ipv6, "next": at + 3}
        return places[label] - at - 1

    return b"".join(
        _INSTRUCTION.pack(code, distance(then, at), distance(otherwise, at), constant)
        for at, (code, then, otherwise, constant) in enumerate([*lines, *ends])
    )
