"""What arrives is charged to the request that it belongs to, however the network has cut it."""

from __future__ import annotations

import httptools
import pytest

from service.process.reader import FRAMING_BYTES, MAX_HEAD_BYTES, Refused, RequestReader

HEAD = b"POST /v1/recommendations HTTP/1.1\r\nhost: localhost\r\n"
LARGE = 4 * FRAMING_BYTES


class Connection:
    """Takes what the reader hands on."""

    def __init__(self) -> None:
        self.url = b""
        self.bodies: list[int] = []

    def on_message_begin(self) -> None:
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None: ...

    def on_headers_complete(self) -> None:
        self.bodies.append(0)

    def on_body(self, body: bytes) -> None:
        self.bodies[-1] += len(body)

    def on_message_complete(self) -> None: ...

    def version(self) -> str:
        return "1.1"

    def locate(self) -> None: ...

    def wants_upgrade(self) -> bool:
        return False

    def at_once(self) -> bool:
        return False


def feed(*reads: bytes) -> Connection:
    connection = Connection()
    reader = RequestReader(connection)
    parser = httptools.HttpRequestParser(reader)
    for data in reads:
        parser.feed_data(data)
        reader.fed(len(data))
    return connection


@pytest.mark.parametrize("cut", [0, 20, len(HEAD), len(HEAD) + 30])
def test_the_end_of_a_body_is_not_charged_to_the_request_after_it(cut: int) -> None:
    body = b"x" * LARGE
    first = HEAD + b"content-length: %d\r\n\r\n" % len(body)
    second = HEAD + b"content-length: 3\r\n\r\nabc"
    assert feed(first, body + second[:cut], second[cut:]).bodies == [LARGE, 3]


def test_framing_without_content_ends_it() -> None:
    extension = b"1;" + b"e" * 10_000 + b"\r\nx\r\n"
    reads = [HEAD + b"transfer-encoding: chunked\r\n\r\n"] + [extension] * (2 * FRAMING_BYTES // len(extension))
    with pytest.raises(Refused, match="more framing than content"):
        feed(*reads)


def test_a_head_that_does_not_end_is_refused() -> None:
    with pytest.raises(Refused, match="address and headers"):
        feed(HEAD + b"x-long: ", *[b"y" * 10_000] * (3 * MAX_HEAD_BYTES // 10_000))
