"""A gateway in this process that speaks TLS, and raw clients for it."""

import asyncio
import ssl
from pathlib import Path

from torpor_gateway.certificate import Certificate
from torpor_gateway.settings import Settings

from tests.authority import NAME, Authority, Issued
from tests.integration.gateway.harness import Client, Gateway
from tests.unit.gateway.test_keys import Secret


class TlsGateway(Gateway):
    """The data plane behind TLS alone. `renew` writes the Secret as a kubelet does, and has it read."""

    def __init__(self, settings: Settings, authority: Authority, folder: Path) -> None:
        super().__init__(settings)
        self.authority = authority
        self.secret = Secret(folder)
        self.certificate = Certificate(folder, settings.tls_min_version)
        self.issued = self.renew(authority.issue())

    def renew(self, issued: Issued) -> Issued:
        self.secret.write(**issued.entries)
        self.certificate.check()
        return issued

    async def open(self) -> None:
        self.port = await self.server.listen_tls("127.0.0.1", 0, self.certificate)

    async def client(self, context: ssl.SSLContext | None = None) -> Client:
        context = context or self.authority.client()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, server_hostname=NAME, ssl_shutdown_timeout=1
        )
        self._clients.append(Client(reader, writer))
        return self._clients[-1]

    async def bare(self) -> Client:
        """Return a client that speaks no TLS."""
        self._clients.append(await Client.connect(self.port))
        return self._clients[-1]


def shown(client: Client) -> bytes:
    """Return the certificate that the gateway has shown to a client, in DER."""
    return client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
