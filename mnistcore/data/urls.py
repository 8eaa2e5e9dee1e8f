"""URLs of sources: which may be used, and how one is shown without the secrets in it."""

import ipaddress

MOST_SHOWN = 120  # characters


def is_url(source: str) -> bool:
    """Whether `source` is asked over a network; it is a folder otherwise."""
    return "://" in source and not source.startswith("file:")


def shown(url: str) -> str:
    """`url` for a message: without user name, password and query, on one line, and not at any length.

    Whatever comes before the last @ may be a password, since one with a /, ? or # in it is not told from a path.
    """
    scheme, separator, rest = url.partition("://")
    rest = rest.rpartition("@")[2]
    rest, query, _ = rest.partition("?")
    rest, fragment, _ = rest.partition("#")
    text = scheme + separator + rest + ("?…" if query or fragment else "")
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…"


def refusal(url: str, redirected_from: str = "") -> str | None:
    """Why `url` may not be used; None if it may: HTTPS, and plain HTTP to this machine, but not after HTTPS.

    The URL is read by urllib3, as it is when a connection is made, so that no other host is checked than is asked.
    What parsers are known to disagree about is refused before: backslashes, white space and control characters.
    """
    from urllib3.exceptions import LocationParseError
    from urllib3.util import parse_url

    if "\\" in url or any(letter.isspace() or not letter.isprintable() for letter in url):
        return "not a URL: it has a backslash, white space or a control character in it"
    try:
        parts = parse_url(url)
        scheme, host = parts.scheme, (parts.host or "").strip("[]")
    except LocationParseError:
        return "not a URL"
    if scheme == "https" and host:
        return None
    if scheme == "http" and not redirected_from.startswith("https:") and _is_loopback(host):
        return None
    where = f"redirects to {shown(url)}, but " if redirected_from else ""
    return f"{where}only https, file, and http to this machine are allowed"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
