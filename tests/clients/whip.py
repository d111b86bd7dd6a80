"""python3 whip.py URL TICKET: publishes a moving picture and silence by WHIP for ten seconds."""

import asyncio
import sys

from aiortc import RTCPeerConnection, VideoStreamTrack
from aiortc.mediastreams import AudioStreamTrack

from client import begin, end


async def main(url, token):
    connection = RTCPeerConnection()
    connection.addTransceiver(AudioStreamTrack(), direction="sendonly")
    connection.addTransceiver(VideoStreamTrack(), direction="sendonly")
    location = await begin(connection, url, token)
    await asyncio.sleep(10)
    state = connection.connectionState
    await end(connection, location, token)
    print(f"published over a connection that was {state}")
    return 0 if state == "connected" else 1


sys.exit(asyncio.run(main(*sys.argv[1:3])))
