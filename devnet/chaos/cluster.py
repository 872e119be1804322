"""The nodes behind their proxies, and the hands that break and mend them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations
from types import TracebackType
from typing import assert_never

from devnet.chaos.schedule import Fault, Step
from devnet.launcher import Launcher
from devnet.perturbed import HEALTHY, Perturbation, save_perturbation
from devnet.proxy import Conditions, ProxyProcess, Route, Setting
from devnet.topology import Devnet, Node
from node.api import views
from node.client import AsyncClient, CallFailed
from node.config import Home
from node.errors import NetworkError
from node.types.validator import node_id_of

READY_TIMEOUT_S = 60.0
POLL_S = 0.1
CUT_PAUSE_S = 0.5
BLOCKED = Conditions(is_blocked=True)


class Cluster:
    """A devnet whose nodes reach each other through proxies only."""

    def __init__(self, devnet: Devnet, seed: int, calm: Conditions, on_wipe: Callable[[str], None]) -> None:
        """`calm` is how links are when nothing is wrong with them."""
        self._devnet = devnet
        self._calm = calm
        self._on_wipe = on_wipe
        self._upgrades = 0
        self.nodes = {node.name: node for node in devnet.nodes}
        self.launcher = Launcher(devnet, program="devnet.perturbed")
        self._proxies = ProxyProcess(seed)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.launcher.stop_all()
        self._proxies.close()

    def start(self) -> None:
        """Puts a proxy on every way and starts every node. Raises: LaunchError."""
        ids = {each.node.name: node_id_of(each.node.certificate).hex() for each in self._devnet.genesis.validators}
        endpoints = {each.node.name: each.node.endpoint for each in self._devnet.genesis.validators}
        ways = self._links()
        routes = []
        for dialer, target in ways:
            host, _, port = endpoints[target].rpartition(":")
            routes.append(Route(dialer=dialer, target=target, host=host, port=int(port)))
        ports = dict(zip(ways, self._proxies.open(routes), strict=True))
        for node in self._devnet.nodes:
            home = Home(node.home)
            config = home.load_config()
            dial = tuple(
                f"{ids[target]}@127.0.0.1:{ports[dialer, target]}" for dialer, target in ways if dialer == node.name
            )
            home.save_config(replace(config, p2p=replace(config.p2p, dial=dial)))
            save_perturbation(node.home, HEALTHY)
        self._set(ways, self._calm)
        self.launcher.start_all()

    async def apply(self, step: Step) -> None:
        """Does it and holds it. Raises: LaunchError when a rolling upgrade fails."""
        targets = [self.nodes[name] for name in step.targets]
        match step.fault:
            case Fault.KILL | Fault.KILL_MANY | Fault.KILL_ALL:
                self._kill(targets)
            case Fault.PAUSE | Fault.PAUSE_MANY:
                self._signal(targets, signal.SIGSTOP)
            case Fault.PARTITION | Fault.SPLIT:
                self._set(self._inward(step) + self._outward(step), BLOCKED)
            case Fault.ISOLATE_ALL:
                self._set(self._links(), BLOCKED)
            case Fault.DEAF:
                self._set(self._inward(step), BLOCKED)
            case Fault.MUTE:
                self._set(self._outward(step), BLOCKED)
            case Fault.DELAY:
                conditions = Conditions(delay_ms=step.amount, jitter_ms=step.amount / 4)
                self._set(self._inward(step) + self._outward(step), conditions)
            case Fault.CLOG:
                self._set(self._inward(step) + self._outward(step), Conditions(bytes_per_second=step.amount))
            case Fault.CUT:
                await self._cut(step)
                return
            case Fault.SLOW_DISK:
                self._perturb(targets, Perturbation(sync_ms=step.amount))
            case Fault.CLOCK_STEP:
                self._perturb(targets, Perturbation(clock_ms=step.amount))
            case Fault.RESTART:
                await asyncio.to_thread(self._stop, targets)
                return
            case Fault.WIPE:
                self._wipe(targets)
            case Fault.ROLLING_UPGRADE:
                await self._upgrade(targets)
                return
            case _ as never:
                assert_never(never)
        await asyncio.sleep(step.hold_s)

    async def heal(self, step: Step) -> None:
        """Undoes it. Raises: LaunchError when a node does not come up."""
        targets = [self.nodes[name] for name in step.targets]
        match step.fault:
            case Fault.KILL | Fault.KILL_MANY | Fault.KILL_ALL | Fault.RESTART | Fault.WIPE:
                await self._start(targets)
            case Fault.PAUSE | Fault.PAUSE_MANY:
                self._signal(targets, signal.SIGCONT)
            case Fault.SLOW_DISK | Fault.CLOCK_STEP:
                self._perturb(targets, HEALTHY)
            case Fault.CUT | Fault.ROLLING_UPGRADE:
                return
            case _:
                self._set(self._links(), self._calm)

    async def wait_until_ready(self, nodes: Sequence[Node]) -> list[str]:
        """Waits until nodes say that they do their work. Returns what those say that do not in time."""
        reasons = await asyncio.gather(*(_reasons(node) for node in nodes))
        return [f"{node.name}: {why}" for node, why in zip(nodes, reasons, strict=True) if why]

    def _kill(self, targets: Sequence[Node]) -> None:
        for node in targets:
            self.launcher.kill(node)

    def _stop(self, targets: Sequence[Node]) -> None:
        for node in targets:
            self.launcher.stop(node)

    async def _start(self, targets: Sequence[Node]) -> None:
        for node in targets:
            self.launcher.start(node)
        for node in targets:
            await asyncio.to_thread(self.launcher.wait_until_up, node)

    def _wipe(self, targets: Sequence[Node]) -> None:
        self._kill(targets)
        for node in targets:
            shutil.rmtree(Home(node.home).data)  # the keys lie beside it
            self._on_wipe(node.name)

    def _signal(self, targets: Sequence[Node], number: signal.Signals) -> None:
        for node in targets:
            os.kill(self.launcher.pid(node), number)

    def _perturb(self, targets: Sequence[Node], perturbation: Perturbation) -> None:
        for node in targets:
            save_perturbation(node.home, perturbation)

    async def _cut(self, step: Step) -> None:
        end_s = asyncio.get_running_loop().time() + step.hold_s
        pairs = [(one, other) for one, other in self._links() if one in step.targets]
        while asyncio.get_running_loop().time() < end_s:
            self._proxies.cut(pairs)
            await asyncio.sleep(CUT_PAUSE_S)

    async def _upgrade(self, targets: Sequence[Node]) -> None:
        """Each node in turn: an orderly stop, a start under another version label, and on once it does its work."""
        self._upgrades += 1
        label = f"chaos.{self._upgrades}"
        for node in targets:
            await asyncio.to_thread(self._stop, [node])
            save_perturbation(node.home, Perturbation(label=label))
            await self._start([node])
            await self.wait_until_ready([node])
            async with AsyncClient(node.url) as client:
                assert (await client.status()).node.version == label, "the new process answers"

    def _inward(self, step: Step) -> list[tuple[str, str]]:
        return [(name, target) for target in step.targets for name in self.nodes if name not in step.targets]

    def _outward(self, step: Step) -> list[tuple[str, str]]:
        return [(target, name) for name, target in self._inward(step)]

    def _links(self) -> list[tuple[str, str]]:
        return list(permutations(self.nodes, 2))

    def _set(self, links: Sequence[tuple[str, str]], conditions: Conditions) -> None:
        self._proxies.set(
            [Setting(sender=sender, receiver=receiver, conditions=conditions) for sender, receiver in links]
        )


async def _reasons(node: Node) -> str:
    """Why a node does not do its work when time is up; empty once it does."""
    deadline_s = asyncio.get_running_loop().time() + READY_TIMEOUT_S
    why = "it does not answer"
    async with AsyncClient(node.url, timeout_s=2.0) as client:
        while asyncio.get_running_loop().time() < deadline_s:
            try:
                health = await client.call_as(views.HealthView, "health")
                if health.is_ready:
                    return ""
                why = ", ".join(health.reasons)
            except (NetworkError, CallFailed) as error:
                why = str(error)
            await asyncio.sleep(POLL_S)
    return why
