"""What is wrong with the broker, in words that say what to check."""

import socket
import ssl

from gateway.core.broker import Connecting

HINTS = {
    0x80: "look into the broker's log",
    0x81: "another program may listen there, or the broker expects another version",
    0x82: "another program may listen there, or the broker expects another version",
    0x84: "set mqtt.version to the other of 5 and 3.1.1",
    0x85: "the broker does not accept the client id; check its rules for client ids",
    0x86: "check mqtt.username and mqtt.password_file",
    0x87: "check mqtt.username, mqtt.password_file and what the broker allows this user",
    0x88: "the broker is not ready yet",
    0x89: "the broker is busy",
    0x8A: "the broker has banned this client",
    0x90: "the broker does not allow the topic of the last will; check mqtt.root and its rules",
    0x97: "the broker's quota is used up",
    0x9A: "the broker must allow retained messages",
    0x9B: "the broker must allow QoS 1",
    0x9F: "the broker limits how often clients may connect",
}


def refused_connection(code: int, reason: str, *, settings: Connecting) -> str:
    """The broker answered CONNECT with a refusal."""
    hint = HINTS.get(code, "look into the broker's log")
    return f"{settings.address} refuses the connection: {reason} (0x{code:02x}); {hint}"


def refused_filter(name: str, reason: str, *, settings: Connecting) -> str:
    """The broker refused a subscription."""
    return (
        f"{settings.address} refuses the subscription to {name}: {reason}; commands for devices "
        f"will not arrive; check that the broker allows this user to read it"
    )


def closed_early(settings: Connecting) -> str:
    """The connection ended before the broker accepted it."""
    other = "mqtt://" if settings.address.tls else "mqtts://"
    version = "3.1.1" if settings.version == "5" else "5"
    return (
        f"{settings.address} closed the connection before it accepted us; check that an MQTT "
        f"broker listens there, whether this port needs {other}, and whether the broker "
        f'expects mqtt.version = "{version}"'
    )


def unreachable(error: Exception, settings: Connecting) -> str:
    """The connection could not be made at all."""
    address = settings.address
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"the certificate of {address} is not trusted: {error.verify_message}; "
                "check mqtt.ca_file and the host name in mqtt.url"
            )
        case ssl.SSLError():
            return (
                f"no TLS with {address}: {error.reason or error}; check that this port speaks "
                "TLS (usually 8883), mqtt.cert_file and mqtt.key_file"
            )
        case socket.gaierror():
            return f"the host name {address.host} cannot be found; check mqtt.url and the DNS"
        case ConnectionRefusedError():
            return f"nothing listens at {address}; check that the broker runs, and mqtt.url"
        case TimeoutError():
            return f"{address} does not answer; check mqtt.url, the network and the firewall"
        case OSError():
            return f"{address} cannot be reached: {error.strerror or error}"
    return f"{address} cannot be reached: {error}"
