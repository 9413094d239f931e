"""Signs requests that differ only in their body and their time. Pure.

Their heads differ in the length, the date, the day of the signing key, and the signature (AWS,
*Signature Version 4 for API requests*). All other parts are taken from an example that the
client's own signer made.
"""

import hashlib
import hmac
import re
import time
from calendar import timegm
from dataclasses import dataclass

_STAMP = "%Y%m%dT%H%M%SZ"
_END = b"\r\n\r\n"
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/]+/(\d{8})/([^/]+)/([^/]+)/aws4_request, "
    r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True, repr=False)  # it would show the key
class _Second:
    """The parts that the requests of one second share."""

    epoch_s: int
    head: bytes
    canonical: bytes
    to_sign: bytes
    key: bytes


class RequestSigner:
    """Makes the same heads as the signer of the example. Thread-safe."""

    def __init__(self, example: bytes, secret_key: str) -> None:
        """Learn the constant parts of a request. Raises ValueError if it has another form."""
        text, lines, headers = _parsed(example)
        signed = _SIGNED.fullmatch(headers["authorization"])
        if signed is None:
            raise ValueError("not signed by Signature Version 4")
        day, self._region, self._service, names, signature = signed.groups()
        stamp, length = headers["x-amz-date"], headers["content-length"]
        self._secret = secret_key
        self._head = text.replace("%", "%%%%")  # it is formatted twice
        for part, field in (
            (f"/{day}/{self._region}/", f"/%(day)s/{self._region}/"),
            (f"\r\nX-Amz-Date: {stamp}\r\n", "\r\nX-Amz-Date: %(stamp)s\r\n"),
            (signature, "%%(signature)b"),
            (f"\r\nContent-Length: {length}\r\n", "\r\nContent-Length: %%(length)d\r\n"),
        ):
            if self._head.count(part) != 1:
                raise ValueError("the head has another form")
            self._head = self._head.replace(part, field)
        method, path, _ = lines[0].split(" ")
        signed_lines = [f"{name}:{' '.join(headers[name].split())}" for name in names.split(";")]
        signed_lines = [
            "x-amz-date:%(stamp)s" if line.startswith("x-amz-date:") else line.replace("%", "%%")
            for line in signed_lines
        ]
        path = path.replace("%", "%%")
        self._canonical = "\n".join([method, path, "", *signed_lines, "", names, ""])
        self._second = self._of_second(timegm(time.strptime(stamp, _STAMP)))

    def signed_head(self, body: bytes, at: float) -> bytes:
        """Return the head of a request with this body; ``at`` is in seconds since the epoch."""
        second = self._second
        if second.epoch_s != int(at):
            second = self._second = self._of_second(int(at))
        canonical = second.canonical + hashlib.sha256(body).hexdigest().encode()
        to_sign = second.to_sign + hashlib.sha256(canonical).hexdigest().encode()
        signature = hmac.digest(second.key, to_sign, "sha256").hex().encode()
        return second.head % {b"signature": signature, b"length": len(body)}

    def explain(self, example: bytes) -> bool:
        """Return whether this makes, byte for byte, the same request as the signer."""
        _, _, headers = _parsed(example)
        at = timegm(time.strptime(headers["x-amz-date"], _STAMP))
        body = example.partition(_END)[2]
        return self.signed_head(body, at) + body == example

    def _of_second(self, epoch_s: int) -> _Second:
        stamp = time.strftime(_STAMP, time.gmtime(epoch_s))
        values = {"stamp": stamp, "day": stamp[:8]}
        key = f"AWS4{self._secret}".encode()
        scope = [stamp[:8], self._region, self._service, "aws4_request"]
        for part in scope:
            key = hmac.digest(key, part.encode(), "sha256")
        return _Second(
            epoch_s,
            (self._head % values).encode("latin-1"),
            (self._canonical % values).encode(),
            f"AWS4-HMAC-SHA256\n{stamp}\n{'/'.join(scope)}\n".encode(),
            key,
        )


def _parsed(example: bytes) -> tuple[str, list[str], dict[str, str]]:
    """Return the text of a request's head, its lines, and its headers by lower-case name."""
    head, end, _ = example.partition(_END)
    text = (head + end).decode("latin-1")
    lines = text.splitlines()
    pairs = [line.partition(": ") for line in lines[1:-1]]
    headers = {name.lower(): value for name, _, value in pairs}
    if len(headers) != len(pairs):
        raise ValueError("a header occurs twice")
    return text, lines, headers
