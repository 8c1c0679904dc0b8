"""Which addresses a connection may go to: public ones, and networks that a setting names. Checked on the very address connected to."""

import socket
import threading
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from queue import Empty, SimpleQueue

from consumers.media.limits import Network
from consumers.media.results import Refusal

Address = IPv4Address | IPv6Address

# Not globally reachable unicast, by IANA's special-purpose registries, and multicast. Spelled out: the standard library's is_global
# differs between patch releases and calls multicast global.
_CLOSED_V4 = tuple(
    IPv4Network(name)
    for name in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_OPEN_V6 = IPv6Network("2000::/3")
_CLOSED_V6 = tuple(IPv6Network(name) for name in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
# An IPv4 address travels in the last 32 bits: mapped, compatible, NAT64.
_EMBEDS_V4 = tuple(IPv6Network(name) for name in ("::ffff:0:0/96", "::/96", "64:ff9b::/96", "::ffff:0:0:0/96"))
# Cloud metadata and host agents. They stay closed even inside a network that a setting opens; the last one is a public address.
_METADATA = frozenset(
    ip_address(name) for name in ("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200",
                                  "192.0.0.192", "168.63.129.16")
)  # fmt: skip


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, else the address itself; ``::`` and ``::1`` stand for themselves."""
    if isinstance(address, IPv6Address) and int(address) > 1 and any(address in network for network in _EMBEDS_V4):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Public and no metadata service, or in one of ``networks``. A 6to4 or Teredo address never is."""
    plain = embedded(address)
    if plain in _METADATA:
        return False
    if any(plain in network for network in networks if network.version == plain.version):
        return True
    if isinstance(plain, IPv4Address):
        return not any(plain in network for network in _CLOSED_V4)
    return plain in _OPEN_V6 and not any(plain in network for network in _CLOSED_V6)


def resolve(host: str, port: int, networks: Sequence[Network], timeout_s: float) -> list[Address]:
    """The addresses of a host, each one allowed.

    Raises:
        Refusal: ``private_address`` where any address of the host is not allowed; ``unreachable``; ``timeout``.
    """
    answers: SimpleQueue[list[Address] | OSError | UnicodeError] = SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put([ip_address(str(entry[4][0]).partition("%")[0]) for entry in found])
        except (OSError, UnicodeError, ValueError) as error:
            answers.put(error if isinstance(error, OSError | UnicodeError) else OSError(str(error)))

    threading.Thread(target=ask, name="media-resolve", daemon=True).start()
    try:
        found = answers.get(timeout=max(timeout_s, 0.001))
    except Empty:
        raise Refusal("timeout", "its host name was not resolved in time") from None
    if isinstance(found, OSError | UnicodeError) or not found:
        raise Refusal("unreachable", "its host name has no address")
    if not all(is_allowed(address, networks) for address in found):
        raise Refusal("private_address", "its host has an address that is not public")
    return list(dict.fromkeys(found))
