"""What a request may have that is not quite right, or right and seldom seen; tables for `requests_generated`."""

from collections.abc import Sequence

Header = tuple[bytes, bytes]
"""A name, with what separates it from its value, and the value."""

ODD_HEADERS: Sequence[Header] = (
    (b"Expect: ", b"100-continue"), (b"Expect: ", b"nothing"), (b"Upgrade: ", b"websocket"), (b"Upgrade: ", b"h2c"),
    (b"Connection: ", b"close"), (b"Connection: ", b"Keep-Alive"), (b"Connection: ", b"keep-alive, close"),
    (b"Connection: ", b"upgrade"), (b"Connection: ", b""), (b"connection: ", b"CLOSE"), (b"Keep-Alive: ", b"300"),
    (b"Transfer-Encoding: ", b"chunked"), (b"Transfer-Encoding: ", b"identity"), (b"transfer-encoding: ", b"Chunked"),
    (b"Transfer-Encoding: ", b"gzip, chunked"), (b"Transfer-Encoding : ", b"chunked"), (b"TE: ", b"trailers"),
    (b"Content-Length: ", b"0"), (b"Content-Length: ", b"5"), (b"content-length: ", b"31"), (b"Content-length: ", b"2"),
    (b"Content-Length:", b"7"), (b"Content-Length: ", b""), (b"CONTENT-LENGTH: ", b"31"), (b"Content-Length : ", b"3"),
    (b"Host: ", b"localhost"), (b"Host: ", b"evil.example"), (b"host: ", b""), (b"X-Forwarded-Host: ", b"evil"),
    (b"Origin: ", b"http://localhost"), (b"Origin: ", b"http://evil.example"), (b"Origin: ", b"null"),
    (b"Accept: ", b"text/html"), (b"accept: ", b"application/json"), (b"Accept: ", b"APPLICATION/JSON"),
    (b"Accept: ", b"application/json, */*;q=0.1"), (b"Content-Type: ", b"application/json"),
    (b"Idempotency-Key: ", b"k1"), (b"Idempotency-Key: ", b"k2"), (b"Idempotency-Key: ", b""),
    (b"X-Request-ID: ", b"mine"), (b"X-Request-ID: ", b"x" * 129), (b"X-Request-ID: ", b"a\tb"),
    (b"X-Request-ID: ", b"\xc3\xa4"), (b"X-Request-ID: ", b"\xff"), (b"X-Request-ID: ", b""),
    (b"X-Correlation-ID: ", b"corr"), (b"X-Correlation-ID: ", b"c" * 200), (b"X-Correlation-ID: ", b"\x7f"),
    (b"x-correlation-id: ", b"  spaced  "), (b"Authorization: ", b"Bearer x"), (b"authorization: ", b"Basic eDp5"),
    (b"Proxy-Authorization: ", b"Basic eDp5"), (b"Cookie: ", b"a=b"), (b"Referer: ", b"http://localhost/"),
    (b"User-Agent: ", b"\xe4\xf6"), (b"User-Agent: ", b""), (b"User-Agent: ", b"a  b\tc"), (b"X-Any: ", b"1"),
    (b"X-Any:", b"1"), (b"X-Any:\t", b"1\t"), (b"X-Any:  ", b"1 "), (b"X-Any : ", b"1"), (b"X Any: ", b"1"),
    (b"X-Any", b""), (b": ", b"1"), (b" X-Any: ", b"1"), (b"\tX-Any: ", b"1"), (b"X-Any: ", b"a\rb"),
    (b"X-Any: ", b"a\0b"), (b"X-Any: ", b"a\nb"), (b"X-\xc4ny: ", b"1"), (b"Accept-Encoding: ", b"a\r\n b"),
    (b"User-Agent: ", b"u" * 4100), (b"X-Any: ", b"u" * 17000), (b"If-None-Match: ", b"*"), (b"Range: ", b"bytes=0-1"),
    (b"Last-Event-ID: ", b"c-00000001-0"), (b"Content-Encoding: ", b"gzip"), (b"X-HTTP-Method-Override: ", b"PUT"),
)  # fmt: skip
METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT", b"get", b"post",
           b"PRI", b"", b"G\xc4T", b" GET", b"GET ", b"POST\t")  # fmt: skip
VERSIONS = (b" HTTP/1.0", b" HTTP/1.1 ", b"  HTTP/1.1", b" HTTP/2.0", b" http/1.1", b" HTTP/1.2", b" HTTP/01.1",
            b"", b" ", b"\tHTTP/1.1", b" HTTP/1.1\r", b" HTTP/0.9", b" HTTP/11", b" HTTPS/1.1")  # fmt: skip
NAMES = (b"wait", b"stream", b"replay", b"dead-letters", b"wait/", b"", b"..", b".", b"-x", b"x" * 128, b"x" * 129,
         b"a/b", b"a//b", b"t/", b"t//", b"./t", b"../events/t", b"%74", b"t%2C", b"t%2Cx-1", b"t%2F", b"t%00", b"%ff",
         b"%", b"%zz", b"t+x", b"t;x", b"t;a=b", b"t#x", b"T", b"t,", b",t", b"t,,t", b"t,wait", b"t,*", b"**", b"*,t",
         b"t t", b"t\xe4", b"\xc3\xa4", b"evt-00000001-1", b"t:x", b"t_x", b"@t", b"t?", b"t??x=1",
         b",".join([b"t"] * 65), b"t," * 600 + b"t")  # fmt: skip
PATHS = (
    b"/api/events", b"/api/events/", b"/api/events/stream", b"/api/events/wait", b"//api/events/t", b"/api//events/t",
    b"/API/events/t", b"/api/events/wait/t/", b"/api/./events/t", b"/x/../api/events/t", b"*", b"/", b"api/events/t",
    b"http://localhost/api/events/t", b"http://localhost:3001/api/events/wait/t", b"http://evil.example/api/events/t",
    b"https://localhost/api/events/wait/t", b"//localhost/api/events/t", b"localhost:3001", b"/livez", b"/nowhere",
    b"/api/nowhere", b"/api/agents", b"/api%2Fevents/t", b"/%61pi/events/wait/t", b"/api/events/t\0",
    b"/api/tokens/refresh", b"/api/events?type=t&order=asc", b"/api/events/evt-00000001-1",
)  # fmt: skip
ODD_QUERY: Sequence[tuple[bytes, bytes]] = (
    (b"timeout", b"-1"), (b"timeout", b"300001"), (b"timeout", b"1e3"), (b"timeout", b"0.5"), (b"timeout", b""),
    (b"timeout", b"00"), (b"timeout", b"+5"), (b"timeout", b"%30"), (b"timeout", b"5 "), (b"timeout", b"0x1"),
    (b"timeout", b"1_0"), (b"timeout", b"nan"), (b"timeout", b"true"), (b"timeout", b"%D9%A2"), (b"timeout", b"9" * 40),
    (b"limit", b"0"), (b"limit", b"1001"), (b"limit", b"+1"), (b"limit", b"1.0"), (b"limit", b"null"), (b"limit", b""),
    (b"since", b""), (b"since", b"x"), (b"since", b"2027-01-15"), (b"since", b"2027-01-15T08:00:00%2B00:00"),
    (b"since", b"2027-01-15T08:00:00+00:00"), (b"since", b"d-00000001-3-1"), (b"since", b"a" * 257), (b"ack", b""),
    (b"ack", b"x"), (b"ack", b"latest"), (b"subscription", b""), (b"subscription", b"a/b"), (b"subscription", b"%ff"),
    (b"topic", b""), (b"topic", b"a b"), (b"topic", b"a+b"), (b"filter", b""), (b"filter", b"a==b"), (b"filter", b"n"),
    (b"filter", b"n:1;limit=5"), (b"filter", b"n:%22a+b%22"), (b"filter", b"n:+1"), (b"filter", b"(" * 40),
    (b"filter", b"n:" + b"1" * 1100), (b"filter", b"n:%"), (b"filter", b"n:%0d%0a"), (b"filter", b"n:\"a\""),
    (b"project", b"alpha"), (b"project", b"beta"), (b"project", b"gamma"), (b"project", b""), (b"Timeout", b"0"),
    (b"time%6fut", b"0"), (b"timeout[]", b"0"), (b"", b""), (b"", b"x"), (b"x", b"1"), (b"timeout=0", b"0"),
    (b"\xff", b""),
    (b"token", b"eyJ"), (b"limit", b"1#x"), (b"limit", b"1?"), (b"topic", b"w\xc3\xb6rk"), (b"topic", b"work\xff"),
)  # fmt: skip
BODIES = (
    b"", b"{}", b"null", b"[]", b"{", b"x", b'{"topic":"t"}', b'{"data":1}', b'{"topic":1,"data":1}', b" ", b'"a"',
    b"\0",
    b'{"topic":"work","data":1,"unknown":2}', b'{"topic":"work","data":NaN}', b'{"topic":"work","data":1e999}',
    b'{"topic":"work","data":1E400,"ttl_seconds":60}', b'{"topic":"work","data":Infinity}',
    b'\xef\xbb\xbf{"topic":"t","data":1}',
    b'{"topic":"work","data":123456789012345678901234567890}', b'{"topic":"work","data":"\xff"}',
    b'{"topic":"w\xe4","data":1}',
    b'{"topic":"work","topic":"review","data":1,"data":2}', b'{"topic":"work","data":{"n":1,"n":2}}',
    b'{"topic":"","data":1}',
    b'{"topic":"work","data":' + b"[" * 200 + b"]" * 200 + b"}",
    b'{"topic":"work","data":' + b"[" * 201 + b"]" * 201 + b"}",
    b'{"topic":"work","data":' + b'[{"n":' * 101 + b"1" + b"}]" * 101 + b"}",
    b'{"topic":"work","data":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"topic":"work","data":1,"ttl_seconds":0}', b'{"topic":"work","data":1,"ttl_seconds":"60"}',
    b'{"topic":"work","data":1,"ttl_seconds":1.0}', b'{"topic":"work","data":1,"ttl_seconds":null}',
    b'{"topic":"work","data":1,"priority":"urgent"}', b'{"topic":"work","data":1,"references":["a",1]}',
    b'{"topic":"work","data":1,"references":null}', b'{"topic":"work","data":1,"publisher":null}',
    b'{"topic":"work","data":1}\n',
    b'{"topic":"work","data":1,"publisher":"somebody"}', b'{"topic":"work","data":1,"event_type":"other"}', b"[" * 3000,
    b' \r\n{"topic" : "work" ,\n "data" : { "a" : 1 } } ', b'{"topic":"work","data":1}{"topic":"work","data":2}',
    b'{"topic":"work","data":01}',
    b'{"topic":"../x","data":1}', b'{"topic":"a b","data":1}', b'{"topic":"work","data":"\\ud800"}',
    b'{"topic":"work","data":"\\u0000"}',
    b'{"topic":"work","data":1,"correlation_id":"' + b"c" * 257 + b'"}',
    b'{"topic":"work","data":1,"correlation_id":5}',
    b"topic=work&data=1", b'{"topic":"work","data":"' + b"a" * 20000 + b'"}', b"{'topic':'work','data':1}",
    b'{"topic":"work","data":-0.0}',
    b'{"topic":"wor\\u006b","data":"\xe2\x82\xac\\u20ac"}', b'{"topic":"work","data":"\x01"}',
    b'{"topic":"work","data":"\xed\xa0\x80"}',
)  # fmt: skip
KINDS = (
    b"application/json", b"", b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x",
    b"application/cloudevents+json", b"APPLICATION/JSON", b"application/json;charset=utf-8", b"application/jsonx",
    b"application/json; charset=latin-1", b"application/json, text/plain", b"json", b"application/json;",
    b"application/JSON; CHARSET=UTF-8",
)  # fmt: skip
HOSTS_ODD = (
    b"", b"evil.example", b"localhost:", b"localhost:x", b"localhost.", b"LOCALHOST", b"localhost, localhost", b"[::1]",
    b"::1", b"[::1", b"user@localhost", b"localhost\xc3\xa4", b"localhost:99999999", b"127.1", b"localhost ",
    b"\tlocalhost", b"localhost/evil", b"http://localhost", b"127.0.0.2", b"0.0.0.0", b"localhost\xa0",
    b"localhost:\xb2",
)  # fmt: skip
TOKEN_FORMS = (
    b"bearer T", b"BEARER T", b"Bearer  T", b"Bearer\tT", b"Bearer", b"Bearer ", b"Basic T", b"T", b"Bearer T=",
    b"Bearer T x", b"Bearer a.b.c", b"Bearer " + b"a" * 5000, b"Bearer T,", b"Bearer \xff.b.c", b"Bearer Bearer T",
    b"Bearer:T", b"Bearer T\xc2\xa0",
)  # fmt: skip
"""T stands for a token."""
ODD_BYTES = b'\0\t\n\r "#%&+,:;?\\\x7f\x80\xff_-.0AaZ'
