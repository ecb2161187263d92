"""Everything that one sandbox is made of, wired together."""

from gateway.sandbox import calls, faults, inbox, journal, tasks
from gateway.sandbox.chatbotkit.app import ChatBotKit
from gateway.sandbox.settings import SandboxSettings
from gateway.sandbox.v3 import callbacks
from gateway.sandbox.v3.access import Access
from gateway.sandbox.v3.announcer import Announcer
from gateway.sandbox.v3.speaker import Speaker
from gateway.sandbox.v3.state import Accounts


class World:
    """The state and the doers behind the endpoints. Opened and closed with the server."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.pulse = journal.Pulse()
        self.background = tasks.Tasks(self.pulse)
        self.request_faults: faults.Rules[faults.RequestFault] = faults.Rules()
        self.callback_faults: faults.Rules[callbacks.CallbackFault] = faults.Rules()
        bounds = {"max_items": settings.journal_items, "max_bytes": settings.journal_bytes}
        self.calls: journal.Journal[calls.Call] = journal.Journal(self.pulse, **bounds)
        self.deliveries: journal.Journal[inbox.Delivery] = journal.Journal(self.pulse, **bounds)
        self.callbacks: journal.Journal[callbacks.Callback] = journal.Journal(self.pulse, **bounds)
        self.access = Access(settings, Accounts(settings.keys))
        self.sender = callbacks.Sender(settings, self.callbacks)
        self.speaker = Speaker(settings, Announcer(self.sender, self.callback_faults), self.background)
        self.chatbotkit = ChatBotKit(settings, self.background, self.pulse)

    async def open(self) -> None:
        """Make what needs the running loop."""
        await self.sender.open()

    async def reset(self) -> None:
        """End what is under way and forget everything."""
        await self.background.cancel()
        self.speaker.clear()
        self.access.accounts.clear()
        self.chatbotkit.clear()
        self.request_faults.arm([])
        self.callback_faults.arm([])
        for record in (self.calls, self.deliveries, self.callbacks):
            record.clear()

    def wake(self) -> None:
        """End every wait of a request, so that the server can stop."""
        self.pulse.close()

    async def close(self) -> None:
        """End what is under way."""
        self.wake()
        await self.background.cancel()
        await self.sender.close()
