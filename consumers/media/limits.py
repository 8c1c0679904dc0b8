"""The media settings, parsed once."""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from msgspec import Struct

from models.frames import FrameSpec
from models.sound import SoundSpec
from schemas.errors import BadSetting
from schemas.settings import Settings

Network = IPv4Network | IPv6Network


class HostRule(Struct, frozen=True):
    """``name`` lower case; ``*.example.org`` is any host below it, ``*`` any at all. ``port`` 0: the scheme's own, 80 or 443."""

    name: str
    port: int

    def allows(self, host: str, port: int, usual: int) -> bool:
        """Whether a URL of this host and port may be fetched."""
        named = self.name in ("*", host) or (self.name.startswith("*.") and host.endswith(self.name[1:]))
        return named and port == (self.port or usual)


class MediaLimits(Struct, frozen=True, kw_only=True):
    """What may be fetched, from where, and how much of it."""

    roots: tuple[Path, ...] = ()
    hosts: tuple[HostRule, ...] = ()
    networks: tuple[Network, ...] = ()
    buckets: tuple[str, ...] = ()
    images: int = 8
    max_bytes: int = 200_000_000
    max_pixels: int = 50_000_000
    image_pixels: int = 1_048_576
    timeout_s: float = 20.0
    note_timeout_s: float = 60.0
    max_redirects: int = 3
    cache_bytes: int = 2_000_000_000
    decode_s: float = 60.0
    frames: FrameSpec = FrameSpec()
    sound: SoundSpec = SoundSpec()


def limits_of(settings: Settings) -> MediaLimits:
    """The limits that the settings say.

    Raises:
        BadSetting: naming the setting and the fix.
    """
    return MediaLimits(
        roots=tuple(_root(name) for name in settings.media_roots.split(os.pathsep) if name),
        hosts=tuple(_host(name) for name in _names(settings.media_hosts)),
        networks=tuple(_network(name) for name in _names(settings.media_networks)),
        buckets=tuple(_names(settings.media_buckets)),
        images=settings.media_images,
        max_bytes=settings.media_max_bytes,
        max_pixels=settings.media_max_pixels,
        timeout_s=settings.media_timeout_s,
        note_timeout_s=settings.media_note_timeout_s,
        max_redirects=settings.media_max_redirects,
        cache_bytes=settings.media_cache_bytes,
        decode_s=settings.media_decode_s,
        frames=FrameSpec(
            strategy=settings.media_sampler,
            max_decoded=settings.media_decode_frames,
            max_duration_s=settings.media_max_duration_s,
            max_frames=settings.media_max_frames,
            max_frame_pixels=settings.media_max_pixels,
            partial=True,
        ),
        sound=SoundSpec(taken_s=settings.media_sound_s, max_duration_s=settings.media_max_duration_s),
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _root(name: str) -> Path:
    path = Path(name)
    if not path.is_absolute() or not path.is_dir():
        raise BadSetting(f"TAGSTREAM_MEDIA_ROOTS: {name} is no directory by absolute path; give existing ones, separated by {os.pathsep}")
    return path.resolve()


def _host(name: str) -> HostRule:
    with_port = "]:" in name if name.startswith("[") else name.count(":") == 1
    host, colon, port = name.lower().rpartition(":") if with_port else (name.lower(), "", "")
    if colon and not (port.isdigit() and 0 < int(port) < 65536):
        raise BadSetting(f"TAGSTREAM_MEDIA_HOSTS: {name}: {port} is no port; write host or host:port, separated by commas")
    host = host.strip("[]")
    if not host or "/" in host or "@" in host or ("*" in host and host != "*" and (not host.startswith("*.") or "*" in host[1:])):
        raise BadSetting(f"TAGSTREAM_MEDIA_HOSTS: {name} is no host; write cdn.example.org, *.example.org, host:port, or * for any")
    return HostRule(host, int(port) if colon else 0)


def _network(name: str) -> Network:
    try:
        return ip_network(name)
    except ValueError as error:
        raise BadSetting(f"TAGSTREAM_MEDIA_NETWORKS: {error}; write 127.0.0.0/8,::1/128 or the like") from None
