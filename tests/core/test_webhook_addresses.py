"""Where webhooks may go: every class of address, and URLs that can be read in one way only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.core.webhooks.addresses import AddressPolicy, is_host_name
from cco_sidecar.core.webhooks.signing import read_secret, write_secret
from cco_sidecar.core.webhooks.targets import MOST_LENGTH, read_target
from cco_sidecar.errors import InvalidBody

REFUSED = {
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd00:ec2::254", "fec0::1"],
    "link-local": ["169.254.169.254", "fe80::1", "fe80::1%eth0"],
    "carrier": ["100.64.0.1", "100.127.255.255", "100.100.100.200"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "192.0.0.192", "2001:2::1", "4000::1", "100::1", "5f00::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "benchmarks": ["198.18.0.1", "198.19.255.255"],
    "cloud": ["168.63.129.16"],
    "IPv6 form": ["::ffff:127.0.0.1", "::ffff:8.8.8.8", "::7f00:1", "::8.8.8.8"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"],
    "6to4": ["2002:7f00:1::", "2002:a00:1::1", "192.88.99.1"],
    "Teredo": ["2001:0:7f00:1::1"],
    "no address": ["0x7f.1", "127.1", "", "localhost", "1.2.3.4.5"],
}
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"]


@pytest.mark.parametrize(("what", "address"), [(what, address) for what, all_ in REFUSED.items() for address in all_])
def test_refused(what: str, address: str) -> None:
    """What is not public is refused, and the reason says what it is; one such address refuses the whole name."""
    refusal = AddressPolicy().refusal("name.example", ["8.8.8.8", address])
    assert refusal is not None
    assert what in refusal
    assert refusal.startswith(address)


def test_public() -> None:
    """What is public is not."""
    assert AddressPolicy().refusal("name.example", PUBLIC) is None


def test_allowed() -> None:
    """Networks, addresses and names of the settings are let through, and nothing beside them."""
    policy = AddressPolicy.of(["10.1.0.0/16", "127.0.0.1", "::1", "CI.example.org", "fd00::/8"])
    for host, address in (
        ("x", "10.1.2.3"),
        ("x", "127.0.0.1"),
        ("x", "::1"),
        ("x", "fd12::1"),
        ("ci.Example.org", "192.168.0.1"),
    ):
        assert policy.refusal(host, [address]) is None
    for host, address in (
        ("x", "10.2.0.1"),
        ("x", "127.0.0.2"),
        ("x", "::ffff:127.0.0.1"),
        ("ci.example.org.evil.example", "192.168.0.1"),
    ):
        assert policy.refusal(host, [address]) is not None
    assert policy.refusal("x", ["10.1.2.3", "10.2.0.1"]) is not None


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port"),
    [
        ("https://example.org", "https", "example.org", 443),
        ("http://example.org/", "http", "example.org", 80),
        ("HTTPS://Example.ORG:8443/a/b?c=d&e=%20", "https", "example.org", 8443),
        ("http://127.0.0.1:9/x", "http", "127.0.0.1", 9),
        ("http://[::1]:9/x", "http", "::1", 9),
        ("http://example.org?x=@y", "http", "example.org", 80),
        ("http://my_host/", "http", "my_host", 80),
        ("http://example.org./", "http", "example.org.", 80),
    ],
)
def test_urls(url: str, scheme: str, host: str, port: int) -> None:
    """Sound URLs are read as everybody reads them."""
    target = read_target(url)
    assert (target.url, target.scheme, target.host, target.port) == (url, scheme, host, port)


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "ftp://example.org/", "file:///etc/passwd", "http://", "http:///x", "//example.org/",
        "http://user@example.org/", "http://user:pw@example.org/", "http://8.8.8.8@127.0.0.1/",
        "http://example.org:0/", "http://example.org:65536/", "http://example.org:99999/", "http://example.org:/",
        "http://example.org/#x", "http://example.org\\@evil.example/", "http://example.org/a b",
        "http://example.org/\r\nX: y", "http://exämple.org/", "http://example.org/ä", "http://[::1/", "http://::1/",
        "http://[1.2.3.4]/", "http://0x7f.1/", "http://127.1/", "http://2130706433/", "http://0177.0.0.1/",
        "http://1.2.3.4.5/", "http://-x.example/", "http://a..b/", "http://.example/", "http://example.org/{x}",
        "http://" + "a" * 254 + "/", "https://example.org/" + "a" * MOST_LENGTH, " http://example.org/", "http://[fe80::1%25eth0]/",
    ],
)  # fmt: skip
def test_wrong_urls(url: str) -> None:
    """What could be read in two ways, or leads nowhere, is refused with its place."""
    with pytest.raises(InvalidBody) as caught:
        read_target(url)
    assert caught.value.details == {"path": "$.url"}


@given(st.text(max_size=60) | st.from_regex(r"https?://[ -~]{1,40}", fullmatch=True))
def test_any_url(url: str) -> None:
    """Whatever is read names a host that Python's own reader finds there, too."""
    from urllib.parse import urlsplit

    try:
        target = read_target(url)
    except InvalidBody:
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.hostname, parts.username) == (target.scheme, target.host, None)
    assert (parts.port or {"http": 80, "https": 443}[target.scheme]) == target.port


@pytest.mark.parametrize("name", ["a", "a-b.c", "xn--bcher-kva.example", "1a", "1.a", "_x.y"])
def test_host_names(name: str) -> None:
    """Names are names."""
    assert is_host_name(name)


@pytest.mark.parametrize("many", [24, 32, 64])
def test_secrets(many: int) -> None:
    """A secret that is written is read again."""
    key = bytes(range(many))
    assert read_secret(write_secret(key)) == key


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "whsec_" + "A" * 31, "whsec_AAAA", write_secret(b"x" * 23), write_secret(b"x" * 65), "x" * 44,
     write_secret(b"x" * 32).removeprefix("whsec_"), write_secret(b"x" * 32) + "\n", "whsec_" + "ä" * 44],
)  # fmt: skip
def test_wrong_secrets(text: str) -> None:
    """Too short, too long, not base64 or without its prefix, it is refused; the refusal does not repeat it."""
    with pytest.raises(InvalidBody) as caught:
        read_secret(text)
    assert caught.value.details == {"path": "$.secret"}
