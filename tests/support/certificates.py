"""Authorities, certificates and keys of tests, as files, and both sides of TLS made from them."""

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

DAY = timedelta(days=1)


def now() -> datetime:
    """This moment, as OpenSSL will see it."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and its key."""

    leaf: trustme.LeafCert
    cert: Path
    key: Path

    def write(self, leaf: trustme.LeafCert) -> "Pair":
        """Put another certificate and its key into the same files, as renewal does."""
        return write_pair(leaf, self.cert, self.key)


def write_pair(leaf: trustme.LeafCert, cert: Path, key: Path) -> Pair:
    """Write both files, each renamed into place."""
    key_now, cert_now = key.with_suffix(".newkey"), cert.with_suffix(".newcert")
    key_now.touch(mode=0o600)
    key_now.write_bytes(leaf.private_key_pem.bytes())
    cert_now.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    key_now.rename(key)
    cert_now.rename(cert)
    return Pair(leaf, cert, key)


@dataclass(slots=True)
class Authority:
    """One authority and what it issues, in a folder."""

    folder: Path
    name: str = "ours"
    ca: trustme.CA = field(default_factory=trustme.CA)

    @property
    def file(self) -> Path:
        """Its own certificate."""
        path = self.folder / f"{self.name}-ca.pem"
        path.write_bytes(self.ca.cert_pem.bytes())
        return path

    def issue(self, *hosts: str, since: datetime | None = None, until: datetime | None = None) -> trustme.LeafCert:
        """A certificate for some names, by default for the loopback and for a month."""
        return self.ca.issue_cert(
            *(hosts or ("127.0.0.1", "localhost")), not_before=since or now() - DAY, not_after=until or now() + 30 * DAY
        )

    def pair(self, name: str, leaf: trustme.LeafCert | None = None) -> Pair:
        """The same as files."""
        return write_pair(leaf or self.issue(), self.folder / f"{name}.pem", self.folder / f"{name}.key")

    def server(self, leaf: trustme.LeafCert | None = None, *, asks: bool = False) -> ssl.SSLContext:
        """A server's side; with `asks` it wants a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (leaf or self.issue()).configure_cert(context)
        if asks:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context

    def client(self, leaf: trustme.LeafCert | None = None) -> ssl.SSLContext:
        """A client's side, which trusts this authority alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.ca.configure_trust(context)
        if leaf is not None:
            leaf.configure_cert(context)
        return context


def overrides(pair: Pair, *, admin: bool = False) -> dict[str, str]:
    """The keys of the configuration that have a port of ours show a certificate."""
    prefix = "listen.admin_tls_" if admin else "listen.tls_"
    return {f"{prefix}cert_file": str(pair.cert), f"{prefix}key_file": str(pair.key)}
