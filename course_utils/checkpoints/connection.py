"""What stands between this machine and the Hub, if something does, and what to do about it."""

import os
import re
import socket
import ssl
from urllib.request import getproxies, proxy_bypass

from huggingface_hub.utils import get_session

OR = "or choose the embedded model, which needs no network"
ELSEWHERE = "go online, or try another network"
REASONS = (  # the first that fits: an error of the machine, in words, what to do without a proxy
    (socket.gaierror, "this name has no address", "check it, and that this computer is online"),
    (ConnectionRefusedError, "connection refused", "check the address, or try another network"),
    (ssl.SSLEOFError, "cut off at the start", ELSEWHERE),
    (ssl.SSLError, "it speaks no TLS", "try http:// for https://, or another network"),
)
CERTIFICATE = {  # OpenSSL's number of what is wrong with one → what to do
    9: "set this computer's clock",  # not yet valid
    10: "set this computer's clock, or try another network",  # has expired
    62: "log in to this network in a browser, or try another",  # is for another name
    64: "log in to this network in a browser, or try another",  # is for another address
}
PASSWORD = "a proxy wants a password: set {} to http://user:password@host:port"
BETWEEN = {  # a status that is not the Hub's → what may stand before it, and what to do
    401: "it wants a login: give a mirror's address by HF_ENDPOINT and its token by HF_TOKEN",
    403: "a firewall may block it: try another network",
    407: PASSWORD,
    511: "this network wants you to log in: open any page in a browser",
}


def session():
    """The client that the Hub's own library uses.

    Raises ConnectionError if the environment names a proxy or certificates that it cannot use.
    """
    good, remedy = r"(?:(?:https?|socks5h?)://)?[\w.-]+(?::\d+)?/?", "write http://host:port"
    try:
        return get_session()
    except OSError as error:
        variable = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        where, why = os.environ.get(variable), error.strerror or error
        what = f"{variable} names no certificates ({where}: {why}): correct or unset it, {OR}"
        raise ConnectionError(what) from None
    except ImportError:  # of the library for SOCKS
        good, remedy = "(?!socks).*", "pip install socksio"
    except Exception as error:  # httpx's InvalidURL is of no narrower kind
        if "url" not in f"{type(error).__name__} {error}".lower():
            raise
    found = [proxy_for(scheme) for scheme in ("http", "https", "all")]
    bad = [x for x in found if x[1] and not re.fullmatch(good, x[1])]
    variable, proxy = (bad or [("NO_PROXY", os.environ.get("NO_PROXY"))])[0]
    what = f"{variable} names a proxy that cannot be used, {proxy}: {remedy}, or unset {variable}"
    raise ConnectionError(f"{what}, {OR}")


def proxy_for(scheme, host=""):
    """(variable, address without user and password) of the proxy for a scheme; two "" if none."""
    address = getproxies().get(scheme, "")
    if not address or (host and proxy_bypass(host)):
        return "", ""
    names = [x for x in (f"{scheme}_proxy", f"{scheme}_proxy".upper()) if os.environ.get(x)]
    return (names or ["the system"])[0], re.sub("(?<=://).*@|^(?!.*://).*@", "", address)


def proxy_of(url):
    """The same for the proxy through which an httpx URL is asked for."""
    found = [proxy_for(scheme, url.host) for scheme in (url.scheme, "all")]
    return next(filter(any, found), ("", ""))


def explain(error):
    """(what happened, what to do) when a request got no answer, or only the start of one."""
    url, kind, cause = error.request.url, type(error).__name__, error
    while cause and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    host, (variable, proxy) = url.netloc.decode().rpartition("@")[2], proxy_of(url)
    if isinstance(cause, ssl.SSLCertVerificationError):
        pem = "set SSL_CERT_FILE to a .pem file of the certificates of your network"
        why = f"the certificate of {host} is not trusted ({cause.verify_message})"
        return why, CERTIFICATE.get(cause.verify_code, pem)
    if kind == "ProxyError":  # what the proxy answered, "407 Proxy Authentication Required"
        password = str(error).startswith("407")
        remedy = PASSWORD.format(variable) if password else f"correct or unset {variable}"
        return f"no answer from {host} through the proxy {proxy} ({error})", remedy
    words = "nothing came for a while, " * kind.endswith("Timeout") + kind
    found = (x[1:] for x in REASONS if isinstance(cause, x[0]))
    if kind == "TooManyRedirects":
        return f"{host} redirects without end", "check the address, or try another network"
    reason, remedy = next(found, (getattr(cause, "strerror", None) or words, ELSEWHERE))
    if url.scheme == "http" and kind in ("ReadError", "RemoteProtocolError"):
        remedy = "try https:// for http://, or another network"
    if proxy:
        host += f" through the proxy {proxy} that {variable} names"
        tls = isinstance(cause, ssl.SSLError) and proxy.startswith("https:")
        remedy = f"write {variable} with http://" if tls else f"correct or unset {variable}"
    return f"no answer from {host} ({reason})", remedy


def refused(answer):
    """What to say of an answer that is not the Hub's; "" if it is, or may be.

    The Hub says why it refuses in headers that nothing else sends, unlike X-Request-Id and such;
    the hosts of its files answer in XML, and those who stand between with a page.
    """
    page = answer.headers.get("content-type", "").startswith("text/html")
    hub = any(x in answer.headers for x in ("x-error-code", "x-error-message", "x-repo-commit"))
    hub = hub or (answer.history and not page)
    host, status = answer.url.netloc.decode().rpartition("@")[2], answer.status_code
    if status < 400 and page:
        return f"{host} answered with a web page, not as the Hub does: {BETWEEN[511]}"
    if status not in BETWEEN or (hub and status < 407):
        return ""
    sent = status == 401 and "authorization" in answer.request.headers
    what = "it did not accept the token that was sent: check HF_TOKEN" if sent else BETWEEN[status]
    what = what.format(proxy_of(answer.url)[0] or f"{answer.url.scheme}_PROXY".upper())
    return f"{host} answered {status}, not as the Hub does: {what}"
