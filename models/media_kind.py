"""What a file is, by its first bytes. Neither a name's ending nor a server's Content-Type is believed."""

from typing import Literal

MediaKind = Literal["image", "video", "audio"]
HEAD_BYTES = 64

_IMAGES = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png", b"GIF87a": "gif", b"GIF89a": "gif", b"BM": "bmp"}
_AUDIOS = {b"fLaC": "flac", b"OggS": "ogg", b"ID3": "mp3"}
_BRANDS: dict[bytes, tuple[MediaKind, str]] = {
    b"M4A ": ("audio", "m4a"),
    b"M4B ": ("audio", "m4a"),
    b"avif": ("image", "avif"),
    b"avis": ("image", "avif"),
}
_NO_VIDEO_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevx", b"mif1", b"msf1"}


def sniff(head: bytes) -> tuple[MediaKind, str] | None:
    """Kind and format of a file that starts with ``head`` (``HEAD_BYTES`` are enough); None where it is nothing we decode.

    Only self-contained formats are known: playlists and other texts that make a demuxer open further files (HLS, DASH, ffconcat, SDP)
    are nothing we decode. A Matroska or Ogg file counts as video and audio by its container, whatever tracks it has.
    """
    for magic, name in _IMAGES.items():
        if head.startswith(magic):
            return "image", name
    for magic, name in _AUDIOS.items():
        if head.startswith(magic):
            return "audio", name
    if head[:4] == b"RIFF":
        return _riff(head[8:12])
    if head[4:8] == b"ftyp":
        return _iso(head[8:12])
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "video", "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video", "matroska"
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 and head[2] >> 4 not in (0, 15):
        return "audio", "mp3"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "audio", "aac"
    return None


def _riff(form: bytes) -> tuple[MediaKind, str] | None:
    forms: dict[bytes, tuple[MediaKind, str]] = {
        b"WEBP": ("image", "webp"),
        b"AVI ": ("video", "avi"),
        b"WAVE": ("audio", "wav"),
    }
    return forms.get(form)


def _iso(brand: bytes) -> tuple[MediaKind, str] | None:
    """Files of the ISO family share one container; the major brand says what is in it. HEIC pictures cannot be decoded here."""
    if brand in _NO_VIDEO_BRANDS:
        return None
    return _BRANDS.get(brand, ("video", "mp4"))
