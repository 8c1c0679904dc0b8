"""Fetching media: every refusal, each against a real server or a real directory."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address, ip_network
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.media.addresses import is_allowed
from consumers.media.fetch import Fetcher
from consumers.media.limits import HostRule, MediaLimits, limits_of
from consumers.media.results import REASONS, RECOVERABLE, Fetched, Refusal, Refused
from consumers.media.store import MARK
from consumers.media.uris import FileUri, WebUri, parse
from schemas.errors import BadSetting
from schemas.settings import Settings
from tests.consumers.media_server import png, serving

SERVER_HOST = "127.0.0.2"
SERVER_ONLY = (ip_network(f"{SERVER_HOST}/32"),)


@pytest.fixture(scope="module")
def server():
    """On a loopback address of its own, so that a test may open this one and nothing else."""
    with serving(SERVER_HOST) as running:
        yield running


@pytest.fixture
def web(server):
    """Any host on the server's port or the usual ones may be asked for; only the server's own address is open."""
    any_host = (HostRule("*", server.server_port), HostRule("*", 0))
    return MediaLimits(hosts=any_host, networks=SERVER_ONLY, timeout_s=20.0, max_bytes=1_000_000)


def ask(limits, uri):
    with Fetcher(limits) as fetcher:
        answer = fetcher.fetch(uri)
        left = [path for path in fetcher._store.directory.iterdir() if path.name != MARK]
        assert len(left) == isinstance(answer, Fetched), "a refused medium leaves no file"
        if isinstance(answer, Fetched):
            assert answer.path.stat().st_size == answer.bytes
    assert not answer.path.exists() if isinstance(answer, Fetched) else answer.reason in REASONS
    return answer


def reason(limits, uri):
    answer = ask(limits, uri)
    assert isinstance(answer, Refused), answer
    assert answer.detail
    return answer.reason


def test_a_picture_is_fetched_by_its_content(server, web):
    answer = ask(web, server.url + "/png")
    assert isinstance(answer, Fetched) and answer.kind == "image" and answer.bytes == len(png())


def test_a_redirect_within_what_is_allowed_is_followed(server, web):
    assert isinstance(ask(web, server.url + "/to?/png"), Fetched)
    assert isinstance(ask(web, server.url + f"/to?{server.url}/png"), Fetched)


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        ("text", "wrong_kind"), ("gzip", "content_encoding"), ("loop", "too_many_redirects"), ("nowhere", "bad_redirect"),
        ("error", "http_status"), ("missing", "http_status"), ("promises-more", "incomplete"), ("promises-huge", "too_large"),
        ("endless", "too_large"), ("cut-chunk", "incomplete"), ("no-http", "unreachable"), ("to?file:///etc/passwd", "bad_redirect"),
        ("to?ftp://127.0.0.2/x", "bad_redirect"), ("to?http://user:pass@127.0.0.2/x", "bad_redirect"), ("to?http://[/", "bad_redirect"),
    ],
)  # fmt: skip
def test_what_a_server_may_do_wrong(server, web, page, wanted):
    assert reason(web, f"{server.url}/{page}") == wanted


def test_more_than_promised_is_not_read(server, web):
    assert ask(web, server.url + "/promises-less").bytes == len(png())


@pytest.mark.parametrize("page", ["drip-body", "drip-header", "continue"])
def test_a_server_that_drips_meets_the_total_deadline(server, web, page):
    """Each read is answered at once; the whole would take 15 s and then be another answer."""
    assert reason(msgspec.structs.replace(web, timeout_s=0.6), f"{server.url}/{page}") == "timeout"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "[::1]", "[::]", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200",
        "192.0.0.192", "168.63.129.16", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]", "[fc00::1]", "[ff02::1]", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "localhost", "224.0.0.1",
    ],
)  # fmt: skip
def test_no_way_to_a_closed_address(server, web, host):
    """Directly and by a redirect, on the usual port and on the server's."""
    for port in ("", f":{server.server_port}"):
        for uri in (f"http://{host}{port}/png", f"{server.url}/to?http://{host}{port}/png"):
            assert reason(web, uri) == "private_address", uri


def test_one_closed_address_among_a_hosts_addresses_closes_it(server, web, monkeypatch):
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in (SERVER_HOST, "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: answers)
    before = len(server.hits)
    assert reason(web, f"http://media.test:{server.server_port}/png") == "private_address"
    assert len(server.hits) == before


def test_a_name_that_changes_its_address_cannot_slip_in(server, web, monkeypatch):
    """The address asked for at the check is the one connected to: the name is not resolved again."""
    with serving("127.0.0.1", server.server_port) as inner:
        turns = iter([SERVER_HOST, "127.0.0.1", "127.0.0.1"])
        asked = []

        def rebinding(host, port, **more):
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(turns), port))]

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        assert isinstance(ask(web, f"http://media.test:{server.server_port}/png"), Fetched)
        assert asked == ["media.test"] and inner.hits == []
        assert reason(web, f"http://media.test:{server.server_port}/png") == "private_address"
        assert inner.hits == []


def test_a_name_server_that_does_not_answer_meets_the_deadline(web, monkeypatch):
    wait = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: wait.wait(20) and [])
    assert reason(msgspec.structs.replace(web, timeout_s=0.2), "http://media.test/png") == "timeout"
    wait.set()


def test_hosts_need_to_be_named(server, web):
    port = server.server_port
    for rule, allowed in [
        (HostRule(SERVER_HOST, port), True),
        (HostRule(SERVER_HOST, 0), False),
        (HostRule("127.0.0.20", port), False),
        (HostRule("*.0.0.2", port), True),
    ]:
        answer = ask(msgspec.structs.replace(web, hosts=(rule,)), server.url + "/png")
        assert isinstance(answer, Fetched) if allowed else answer.reason == "host_not_allowed"
    only = msgspec.structs.replace(web, hosts=(HostRule(SERVER_HOST, port),))
    assert reason(only, f"{server.url}/to?http://elsewhere.test:{port}/png") == "host_not_allowed"
    assert reason(msgspec.structs.replace(web, hosts=()), server.url + "/png") == "scheme_not_enabled"
    assert not HostRule("*.example.org", 0).allows("badexample.org", 443, 443)
    assert not HostRule("*.example.org", 0).allows("example.org", 443, 443)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_a_certificate_that_nobody_vouches_for_is_refused(server, web, tmp_path):
    subject = ["-subj", "/CN=127.0.0.2", "-addext", "subjectAltName=IP:127.0.0.2"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert", *subject]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    with serving(SERVER_HOST) as secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        limits = msgspec.structs.replace(web, hosts=(HostRule("*", secure.server_port),))
        answer = ask(limits, f"https://{SERVER_HOST}:{secure.server_port}/png")
        assert (answer.reason, secure.hits) == ("unreachable", []) and "certificate" in answer.detail
    assert reason(web, server.url.replace("http:", "https:") + "/png") == "unreachable"


def test_nothing_listening(web):
    with socket.socket() as closed:
        closed.bind((SERVER_HOST, 0))
        port = closed.getsockname()[1]
    limits = msgspec.structs.replace(web, hosts=(HostRule("*", port),))
    assert reason(limits, f"http://{SERVER_HOST}:{port}/png") == "unreachable"


def test_public_addresses_are_open_and_no_network_opens_a_metadata_service():
    assert all(is_allowed(ip_address(one), ()) for one in ("1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"))
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    closed = ("169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "64:ff9b::a9fe:a9fe")
    assert not any(is_allowed(ip_address(one), everything) for one in closed)
    assert is_allowed(ip_address("10.1.2.3"), (ip_network("10.1.0.0/16"),)) and not is_allowed(
        ip_address("10.2.0.1"), (ip_network("10.1.0.0/16"),)
    )


@given(st.ip_addresses())
def test_an_address_that_python_calls_private_is_never_open(address):
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        assert not is_allowed(address, ())
    if address.version == 6 and address.ipv4_mapped:
        assert is_allowed(address, ()) == is_allowed(address.ipv4_mapped, ())


# files


@pytest.fixture
def root(tmp_path):
    inside, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (inside, outside, inside / "sub"):
        folder.mkdir()
    (inside / "a.png").write_bytes(png())
    (inside / "sub" / "b #1 é.png").write_bytes(png())
    (outside / "secret.png").write_bytes(png())
    (tmp_path / "root-evil").mkdir()
    (tmp_path / "root-evil" / "x.png").write_bytes(png())
    return inside


def test_files_below_a_root_are_fetched(root):
    limits = MediaLimits(roots=(root,))
    (root / "link.png").symlink_to(root / "a.png")
    for name in ("/a.png", "/sub/b%20%231%20%C3%A9.png", "/link.png", "//a.png", "/./a.png"):
        assert ask(limits, f"file://{root}{name}").kind == "image", name
    assert ask(limits, f"file://localhost{root}/a.png").kind == "image"


def test_no_way_out_of_a_root(root):
    limits = MediaLimits(roots=(root,))
    (root / "out.png").symlink_to(root.parent / "outside" / "secret.png")
    (root / "away").symlink_to(root.parent / "outside")
    (root / "round").symlink_to(root / "round")
    for name in (
        "/out.png", "/away/secret.png", "/../outside/secret.png", "/%2e%2e/outside/secret.png", "/sub/..%2F..%2Foutside/secret.png",
        "/round", "/../root-evil/x.png", "/../outside/none.png", "/away/none.png",
    ):  # fmt: skip
        assert reason(limits, f"file://{root}{name}") == "outside_roots", name
    assert reason(limits, f"file://{root}-evil/x.png") == "outside_roots"
    assert reason(limits, "file:///etc/passwd") == "outside_roots"


def test_what_is_no_file_is_refused_without_waiting(root):
    limits = MediaLimits(roots=(root,), max_bytes=2000)
    os.mkfifo(root / "pipe.png")
    (root / "large.png").write_bytes(png() + bytes(2000))
    (root / "text.png").write_text("no picture")
    (root / "empty.png").touch()
    wanted = {"pipe.png": "not_a_file", "sub": "not_a_file", "": "not_a_file", "none.png": "not_found", "a.png/x": "outside_roots",
              "large.png": "too_large", "text.png": "wrong_kind", "empty.png": "wrong_kind"}  # fmt: skip
    assert {name: reason(limits, f"file://{root}/{name}") for name in wanted} == wanted
    assert reason(MediaLimits(), f"file://{root}/a.png") == "scheme_not_enabled"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1, max_size=40))
def test_any_file_name_makes_the_round_trip(name):
    path = PurePosixPath("/media") / name
    if name not in (".", ".."):
        assert parse("file://" + quote(str(path))) == FileUri(path)


# parsing


@pytest.mark.parametrize(
    "uri", ["ftp://a/b", "data:image/png;base64,AAAA", "gopher://a", "a.png", "/etc/passwd", "concat:a|b", "jar:file:///x"]
)
def test_unknown_schemes(uri):
    assert reason(MediaLimits(), uri) == "unknown_scheme"


@pytest.mark.parametrize(
    "uri",
    [
        "", "http://", "http:///x", "http://a b/", "http://a\\@b/", "http://a/\r\nHost: b", "http://u@a/", "http://u:p@a/", "http://a:0/",
        "http://a:99999/", "http://[::1/", "http://[fe80::1%25eth0]/", "http://a..b/", "http://%31/", "file://host/a", "file:///a%00b",
        "file:///a?b", "file:a", "file:///%ff", "s3://", "s3://bucket", "s3://BUCKET/key", "s3://b@d/key", "s3://bucket/key?versionId=1",
        "http://" + "a" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_uri_here(uri):
    assert reason(MediaLimits(hosts=(HostRule("*", 0),)), uri) == "bad_uri"


def test_a_web_address_is_normalised_once():
    assert parse("HTTPS://Bücher.Example.:8443/ä?q=1#frag") == WebUri("https", "xn--bcher-kva.example", 8443, "/%C3%A4?q=1")
    assert parse("http://a?x").target == "/?x"
    assert parse("http://[::FFFF:1.2.3.4]/").host == "::ffff:102:304"


@given(st.text(max_size=60) | st.text(st.sampled_from("htps:/@.[]%2e\\ab01?#f"), max_size=40).map(lambda rest: "http://" + rest))
def test_parsing_takes_any_text(uri):
    try:
        parsed = parse(uri)
    except Refusal as refusal:
        assert refusal.refused.reason in ("bad_uri", "unknown_scheme", "outside_roots")
        return
    if isinstance(parsed, WebUri):
        assert parsed.host and parsed.target.startswith("/") and parsed.target.isascii() and not set(parsed.host) & set("@/\\?# ")
        assert parse(parsed.url) == parsed
    elif isinstance(parsed, FileUri):
        assert parsed.path.is_absolute() and ".." not in parsed.path.parts


# the batch


def test_a_uri_is_fetched_once_in_a_batch(server, web):
    with Fetcher(web) as fetcher:
        before = len(server.hits)
        one, other = fetcher.fetch_all([server.url + "/png?once"] * 2, 20.0)
        assert one == other == fetcher.fetch(server.url + "/png?once")
        assert fetcher._store._held == {server.url + "/png?once": 3}
        assert len(server.hits) == before + 1
        assert fetcher.fetch(server.url + "/text") == fetcher.fetch(server.url + "/text")
        assert len(server.hits) == before + 2


def test_room_is_made_of_files_nobody_holds(root):
    size = len(png())
    for name in ("b.png", "c.png"):
        (root / name).write_bytes(png())
    with Fetcher(MediaLimits(roots=(root,), cache_bytes=2 * size)) as fetcher:
        uris = [f"file://{root}/{name}.png" for name in "abc"]
        first, second = (fetcher.fetch(uri) for uri in uris[:2])
        assert fetcher.fetch(uris[2]).reason == "cache_full"
        fetcher.release(uris[0])
        (root / "d.png").write_bytes(png())
        assert isinstance(fetcher.fetch(f"file://{root}/d.png"), Fetched)
        assert not first.path.exists() and second.path.exists()


def test_files_that_a_killed_process_left_behind_are_deleted_by_the_next(tmp_path, monkeypatch):
    """And those of a live one are not."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = "from consumers.media.store import MediaStore; s = MediaStore(9, 9); print(s.directory, flush=True); input()"
    killed = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    left = Path(killed.stdout.readline().decode().strip())
    with Fetcher(MediaLimits()):
        assert left.exists()
    killed.kill()
    killed.communicate()
    assert left.exists()
    with Fetcher(MediaLimits()) as fetcher:
        assert not left.exists() and fetcher._store.directory.exists()
    assert list(tmp_path.iterdir()) == []


def test_no_time_left_is_a_timeout_and_is_not_remembered(root):
    with Fetcher(MediaLimits(roots=(root,))) as fetcher:
        assert fetcher.fetch(f"file://{root}/a.png", within_s=0.0).reason == "timeout"
        assert isinstance(fetcher.fetch(f"file://{root}/a.png"), Fetched)


# s3


class Objects(BaseHTTPRequestHandler):
    """As much of an object store as reading needs: HEAD and ranged GET of ``bucket/a.png``; ``slow.png`` never answers in time."""

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        if "slow.png" in self.path:
            self.server.stop.wait(20)
        if self.path.partition("?")[0] != "/bucket/a.png":
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = png()
        if asked := self.headers.get("Range"):
            start, end = asked.removeprefix("bytes=").split("-")
            data = data[int(start) : int(end) + 1]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, *args):
        return


@pytest.fixture
def bucket(monkeypatch):
    """The client is real, the store is this."""
    store = ThreadingHTTPServer(("127.0.0.1", 0), Objects)
    store.daemon_threads, store.block_on_close, store.stop = True, False, threading.Event()
    thread = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{store.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    import fsspec

    fsspec.filesystem("s3").clear_instance_cache()
    yield MediaLimits(buckets=("bucket",))
    fsspec.filesystem("s3").clear_instance_cache()
    store.stop.set()
    store.shutdown()
    store.server_close()
    thread.join()


@pytest.mark.filterwarnings("ignore")
def test_objects_of_named_buckets(bucket):
    pytest.importorskip("s3fs")
    assert ask(bucket, "s3://bucket/a.png").bytes == len(png())
    assert reason(bucket, "s3://bucket/none.png") == "not_found"
    assert reason(bucket, "s3://other/a.png") == "bucket_not_allowed"
    assert reason(MediaLimits(), "s3://bucket/a.png") == "scheme_not_enabled"
    assert reason(msgspec.structs.replace(bucket, max_bytes=10), "s3://bucket/a.png") == "too_large"
    assert reason(msgspec.structs.replace(bucket, timeout_s=0.5), "s3://bucket/slow.png") == "timeout"


# settings


def test_settings_become_limits(tmp_path):
    chosen = Settings(
        media_roots=f"{tmp_path}:{tmp_path}",
        media_hosts="CDN.example.org, *.example.net, 127.0.0.1:8080, [::1]:81, *",
        media_networks="127.0.0.0/8,::1/128",
        media_buckets="a, b",
        media_decode_frames=77,
    )
    limits = limits_of(chosen)
    assert limits.roots == (tmp_path.resolve(),) * 2 and limits.buckets == ("a", "b") and limits.frames.max_decoded == 77
    hosts = [("cdn.example.org", 0), ("*.example.net", 0), ("127.0.0.1", 8080), ("::1", 81), ("*", 0)]
    assert [(rule.name, rule.port) for rule in limits.hosts] == hosts
    assert limits_of(Settings()) == MediaLimits(frames=limits_of(Settings()).frames)
    assert limits_of(Settings()).roots == limits_of(Settings()).hosts == limits_of(Settings()).buckets == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("media_roots", "relative"), ("media_roots", "/no/such/directory"), ("media_hosts", "http://a/"), ("media_hosts", "a:b"),
        ("media_hosts", "a*.b"), ("media_hosts", "*a"), ("media_hosts", "a:70000"), ("media_networks", "10.0.0.1/8"),
        ("media_networks", "lan"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(BadSetting, match=f"TAGSTREAM_{name.upper()}"):
        limits_of(Settings(**{name: value}))


def test_every_reason_says_whether_it_may_recover():
    assert set(REASONS) >= RECOVERABLE
    assert Refused("timeout", "x").may_recover and not Refused("wrong_kind", "x").may_recover
    assert not any(Refused(reason, "x").may_recover for reason in ("scheme_not_enabled", "host_not_allowed", "bucket_not_allowed"))
