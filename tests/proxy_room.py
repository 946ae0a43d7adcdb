"""A whole proxy over fakes, and how to ask it."""

from __future__ import annotations

import json

from twisted.internet.task import Clock

from athensd.blob import BytesBlob, read_all
from athensd.flight.memory import MemoryFlight
from athensd.freshness import Freshness
from athensd.gomod.version import ModuleVersion
from athensd.index.memory import MemoryIndex
from athensd.proxy import Network, Proxy
from athensd.spool import Spool
from athensd.stash import Stash
from athensd.storage.memory import MemoryStorage
from tests.fakes import FakeOrigin, FakeSums, at_once, module_files, result_of

PATH = "example.com/m"


class Room:
    """A proxy over a memory storage and an origin that has ``versions`` of one module."""

    def __init__(self, tmp_path, network=Network.STRICT):
        self.clock = Clock()
        self.spool = Spool(tmp_path)
        self.storage = MemoryStorage(self.spool)
        self.origin = FakeOrigin()
        flight = MemoryFlight()
        self.freshness = Freshness(flight, self.clock.seconds, fresh=60, stale=1000, absent=30)
        self.sums = FakeSums()
        self.stash = Stash(
            storage=self.storage,
            origin=self.origin,
            index=MemoryIndex(),
            flight=flight,
            spool=self.spool,
            clock=self.clock,
            in_thread=at_once,
            published=self.freshness.learn,
            sums=self.sums,
            timeout=300,
        )
        self.proxy = Proxy(
            storage=self.storage,
            origin=self.origin,
            stash=self.stash,
            freshness=self.freshness,
            clock=self.clock,
            timeout=20,
            network=network,
        )

    def publish(self, *versions, path=PATH, latest=None):
        """Versions appear at the origin, and ``latest`` becomes what it says is the latest."""
        for version in versions:
            self.origin.files[ModuleVersion(path, version)] = module_files(ModuleVersion(path, version))
        if latest:
            self.origin.queries[path, "latest"] = latest

    def store(self, *versions):
        """Versions are stored from before."""
        for version in versions:
            for kind, data in module_files(ModuleVersion(PATH, version)).items():
                result_of(self.storage.put(ModuleVersion(PATH, version), kind, BytesBlob(data)))

    def ask(self, verb, *arguments, **options):
        """The answer and its bytes."""
        answer = result_of(getattr(self.proxy, verb)(*arguments, **options))
        return answer, result_of(read_all(answer.blob))

    def list(self, path=PATH, **options):
        return self.ask("list", path, **options)[1].decode().split()

    def latest(self, path=PATH, **options):
        return json.loads(self.ask("latest", path, **options)[1])["Version"]

    def info(self, query, path=PATH, **options):
        return json.loads(self.ask("info", path, query, **options)[1])["Version"]
