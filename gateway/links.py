"""Who is connected: the newest connection of each device."""

from gateway.core.messages import Message
from gateway.core.registry import Device
from gateway.errors import CloseCode
from gateway.link import Link

RETRY_MS = 10_000


class Links:
    """All connections, and the current one of each device by name."""

    def __init__(self) -> None:
        self.all: set[Link] = set()
        self.current: dict[str, Link] = {}

    def send(self, device: Device, message: Message) -> None:
        """Send a downlink message if the device is connected."""
        link = self.current.get(device.name)
        if link is not None and link.live:
            link.send(message)

    def room(self, device: Device) -> int | None:
        """Largest message that the device accepts; None unless it is connected."""
        link = self.current.get(device.name)
        return link.room if link is not None and link.live else None

    async def part(self, device: Device, code: CloseCode, text: str) -> None:
        """Part from a device, if it is connected."""
        link = self.current.get(device.name)
        if link is not None:
            await link.part(code, text)

    def renew_limits(self) -> None:
        """Tell every device how far it may send now: one that used up its limit waits for that."""
        for link in self.all:
            if link.live:
                link.acknowledge([])

    def close(self) -> None:
        """The gateway restarts: tell every device to come back."""
        for link in list(self.all):
            link.spawn(link.part(CloseCode.RESTART, "the gateway restarts", retry_ms=RETRY_MS))
