"""python3 whep.py URL TICKET: views by WHEP for ten seconds and counts what it decodes."""

import asyncio
import sys

from aiortc import RTCPeerConnection

from client import begin, end


async def main(url, token):
    connection = RTCPeerConnection()
    seen = {"audio": 0, "video": 0}
    readers = []

    async def read(track):
        while True:
            await track.recv()
            seen[track.kind] += 1

    @connection.on("track")
    def on_track(track):
        readers.append(asyncio.ensure_future(read(track)))

    for kind in seen:
        connection.addTransceiver(kind, direction="recvonly")
    location = await begin(connection, url, token)
    await asyncio.sleep(10)
    for reader in readers:
        reader.cancel()
    await end(connection, location, token)
    print(f"{seen['video']} frames of video, {seen['audio']} of audio")
    return 0 if any(seen.values()) else 1


sys.exit(asyncio.run(main(*sys.argv[1:3])))
