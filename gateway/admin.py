"""What the command line asks of a running gateway, through its control socket."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gateway.authority import Authority
from gateway.control import Command
from gateway.core import enrolment
from gateway.core.accounts import CHANGES
from gateway.core.facts import DeviceAccess
from gateway.core.filters import Filter
from gateway.core.group import Group
from gateway.core.orders import Orders, Request
from gateway.core.registry import Registry
from gateway.errors import CloseCode, GatewayError
from gateway.facade import Facade
from gateway.links import Links
from gateway.pipeline import Pipeline
from gateway.store.rescue import Rescue


class NoBroker(GatewayError):
    """Something needs a broker, and none is configured."""


class Admin:
    """Changes to devices, and commands; each is durable before it is answered."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        links: Links,
        orders: Orders,
        facade: Facade,
        rescue: Rescue,
        authority: Authority,
        replay: Callable[[Group, int], None] | None,
    ) -> None:
        """`replay` opens again what the broker acknowledged since (Unix ms); None: no broker."""
        self._pipeline = pipeline
        self._replay_since = replay
        self._registry: Registry = pipeline.registry
        self._links = links
        self._orders = orders
        self._facade = facade
        self._rescue = rescue
        self._authority = authority

    def commands(self) -> dict[str, Command]:
        """The table of what can be asked."""
        return {
            "device.add": self._add,
            "device.rotate": self._rotate,
            "device.disable": partial(self._allow, disabled=True),
            "device.enable": partial(self._allow, disabled=False),
            "device.remove": self._remove,
            "command": self._command,
            "command.get": self._command_get,
            "alerts": self._alerts,
            "alerts.ack": self._acknowledge,
            "replay": self._replay,
            "status": self._status,
            "backup": self._backup,
            "account": self._account,
            "pass": self._pass,
        }

    async def _add(self, asked: Mapping[str, Any]) -> None:
        await self._pipeline.submit(partial(self._enrol, asked))

    def _enrol(self, asked: Mapping[str, Any], group: Group) -> None:
        found = self._registry.devices.get(asked["device"])
        fact = enrolment.add(
            found,
            name=asked["device"],
            number=self._registry.number("device") if found is None else found.id,
            hashed=asked["token_hash"],
            speaks_for_others=asked["speaks_for_others"],
            now_ms=group.now.ms,
        )
        group.add(fact)
        device = self._registry.take_device(fact.id, fact.name)
        device.speaks_for_others = fact.speaks_for_others
        device.removed = device.disabled = False
        self._registry.change_token(device, fact.token_hash)

    async def _rotate(self, asked: Mapping[str, Any]) -> None:
        def change(group: Group) -> DeviceAccess:
            found = self._registry.devices.get(asked["device"])
            fact = enrolment.rotate(found, name=asked["device"], hashed=asked["token_hash"])
            self._registry.change_token(self._registry.by_id[fact.id], fact.token_hash)
            group.add(fact)
            return fact

        fact = await self._pipeline.submit(change)
        await self._links.part(
            self._registry.by_id[fact.id], CloseCode.UNAUTHENTICATED, "the token was rotated"
        )

    async def _allow(self, asked: Mapping[str, Any], *, disabled: bool) -> None:
        def change(group: Group) -> DeviceAccess:
            found = self._registry.devices.get(asked["device"])
            fact = enrolment.disable(found, name=asked["device"], disabled=disabled)
            self._registry.by_id[fact.id].disabled = disabled
            group.add(fact)
            return fact

        fact = await self._pipeline.submit(change)
        if disabled:
            device = self._registry.by_id[fact.id]
            await self._links.part(device, CloseCode.DISABLED, "the device was disabled")

    async def _remove(self, asked: Mapping[str, Any]) -> None:
        def change(group: Group) -> int:
            found = self._registry.devices.get(asked["device"])
            fact = enrolment.remove(found, name=asked["device"])
            device = self._registry.by_id[fact.id]
            self._registry.change_token(device, None)
            device.removed = True
            group.add(fact)
            return fact.id

        device = self._registry.by_id[await self._pipeline.submit(change)]
        await self._links.part(device, CloseCode.DISABLED, "the device was removed")
        self._facade.live.forget(device.name)

    async def _command(self, asked: Mapping[str, Any]) -> dict[str, int]:
        request = Request(
            asked["device"], asked["op"], asked["args"], asked["ttl_ms"], asked["flags"]
        )
        order = await self._pipeline.submit(lambda group: self._orders.put(group, request))
        return {"n": order.n}

    async def _command_get(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        found = await self._facade.command(asked["n"])
        if found is None:
            raise enrolment.EnrolmentError(f"there is no command {asked['n']}")
        keys = ("n", "dev", "op", "args", "state", "result", "created", "updated")
        return {key: getattr(found, key) for key in keys}

    async def _alerts(self, _: Mapping[str, Any]) -> list[Any]:
        """The payloads of the alerts in force."""
        everything = Filter(kinds=frozenset({"alert"}))
        return [json.loads(text) for text in self._facade.live.snapshot(everything).alerts]

    async def _acknowledge(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return await self._facade.acknowledge(asked["n"], by=asked["by"], note=asked["note"])

    async def _replay(self, asked: Mapping[str, Any]) -> dict[str, int]:
        """The rows that wait for the broker afterwards."""
        replay = self._replay_since
        if replay is None:
            raise NoBroker("there is no broker to send anything to: set mqtt.url")
        await self._pipeline.submit(lambda group: replay(group, asked["since"]))
        state = await self._facade.state()
        return {"waiting": state["outbox"]["depth"]}

    async def _backup(self, asked: Mapping[str, Any]) -> dict[str, int]:
        size = await self._rescue.backup(Path(asked["file"]), force=bool(asked["force"]))
        return {"bytes": size}

    async def _account(self, asked: Mapping[str, Any]) -> None:
        change = CHANGES[asked["change"]]
        await self._authority.change(
            lambda accounts, now: change(accounts, asked["name"], asked["secret"], now.ms)
        )

    async def _pass(self, _: Mapping[str, Any]) -> dict[str, str]:
        return {"token": self._authority.pass_}

    async def _status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return await self._facade.state()
