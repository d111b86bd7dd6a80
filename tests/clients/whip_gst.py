"""python3 whip_gst.py URL TICKET: publishes a moving picture and a tone by WHIP for ten seconds, with GStreamer's whipsink."""

import sys

from gst import Gst, certificate, doorman, play

PICTURE = "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=15/1 ! vp8enc deadline=1 keyframe-max-dist=30"
SOUND = "audiotestsrc is-live=true ! opusenc"


def main(url, token):
    cert, key = certificate()
    pipeline = Gst.parse_launch(
        f"whipsink name=whip whip-endpoint={doorman(url, cert)} auth-token={token} "
        f"{PICTURE} ! rtpvp8pay ! application/x-rtp,media=video,encoding-name=VP8,payload=96 ! whip.sink_0 "
        f"{SOUND} ! rtpopuspay ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! whip.sink_1"
    )
    state = play(pipeline, cert, key)
    print(f"published over a connection that was {state}")
    return 0 if state == "connected" else 1


sys.exit(main(*sys.argv[1:3]))
