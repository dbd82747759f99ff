"""paho alone: publishes summaries at QoS 1, so many in flight: `publisher.py PORT COUNT WINDOW`.

Prints messages/s from the first message to the last acknowledgement.
"""

import sys
import threading
import time
from pathlib import Path

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PORT, COUNT, WINDOW = map(int, sys.argv[1:4])
PAYLOAD = Path(sys.argv[4]).read_bytes()


def properties(number: int) -> Properties:
    found = Properties(PacketTypes.PUBLISH)
    found.UserProperty = [("gw", "bench"), ("id", str(number)), ("epoch", "0123456789abcdef")]
    return found


def main() -> None:
    client = Client(CallbackAPIVersion.VERSION2, "bare", protocol=MQTTv5)
    client.max_inflight_messages_set(WINDOW)
    connected, room, done = threading.Event(), threading.Semaphore(WINDOW), threading.Event()
    acked = 0

    def on_publish(*_: object) -> None:
        nonlocal acked
        acked += 1
        room.release()
        if acked == COUNT:
            done.set()

    client.on_connect = lambda *_: connected.set()
    client.on_publish = on_publish
    client.connect("127.0.0.1", PORT)
    client.loop_start()
    connected.wait()
    begun = time.perf_counter()
    for number in range(COUNT):
        room.acquire()
        topic = f"sensors/bench/d{number % 50}/temperature/summary/10s"
        client.publish(topic, PAYLOAD, qos=1, properties=properties(number))
    done.wait()
    print(COUNT / (time.perf_counter() - begun))
    client.disconnect()


main()
