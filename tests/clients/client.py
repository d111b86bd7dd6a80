"""What whip.py and whep.py share: the exchange of offer and answer, and leaving."""

from urllib.parse import urljoin

import aioice.ice
import aiohttp
from aiortc import RTCSessionDescription

# aioice leaves loopback out, over which a server on this machine is reached.
_addresses = aioice.ice.get_host_addresses
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [*_addresses(use_ipv4, use_ipv6), *(["127.0.0.1"] if use_ipv4 else [])]


async def begin(connection, url, token):
    await connection.setLocalDescription(await connection.createOffer())
    headers = {"authorization": f"Bearer {token}", "content-type": "application/sdp"}
    async with aiohttp.ClientSession() as http:
        async with http.post(url, headers=headers, data=connection.localDescription.sdp) as response:
            text = await response.text()
            if response.status != 201:
                raise SystemExit(f"{response.status} {text}")
            location = urljoin(url, response.headers["location"])
    await connection.setRemoteDescription(RTCSessionDescription(sdp=text, type="answer"))
    return location


async def end(connection, location, token):
    async with aiohttp.ClientSession() as http:
        async with http.delete(location, headers={"authorization": f"Bearer {token}"}) as response:
            if response.status != 200:
                raise SystemExit(f"DELETE: {response.status}")
    await connection.close()
