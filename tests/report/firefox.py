"""Firefox as it is installed, driven by WebDriver BiDi, which it speaks itself.

Playwright drives builds of its own, which no package registry has; over BiDi
Debian's Firefox lacks a command that it insists on.
"""

import asyncio
import json
import re
import subprocess
import threading
from pathlib import Path


class Firefox:
    """A running Firefox with one tab; `dark` is what its pages learn of the reader's taste."""

    def __init__(self, executable: str, profile: Path, dark: bool = False) -> None:
        profile.joinpath("user.js").write_text(
            f'user_pref("layout.css.prefers-color-scheme.content-override", {0 if dark else 1});\n'
            'user_pref("datareporting.policy.dataSubmissionEnabled", false);\n',
            encoding="utf-8",
        )
        self.process = subprocess.Popen(
            [executable, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr
        found = (re.search(r"listening on (ws://\S+)", line) for line in self.process.stderr)
        address = next((match[1] for match in found if match), None)
        assert address, "Firefox ended before it listened"
        self.loop, self.sent, self.complaints = asyncio.new_event_loop(), 0, []
        threading.Thread(target=self.loop.run_forever, daemon=True).start()  # Playwright's runs in this one
        self._run(self._connect(f"{address}/session"))
        self.command("session.new", capabilities={})
        self.command("session.subscribe", events=["log.entryAdded"])
        self.tab = self.command("browsingContext.getTree")["contexts"][0]["context"]

    def _run(self, task):
        return asyncio.run_coroutine_threadsafe(task, self.loop).result()

    async def _connect(self, address: str) -> None:
        import aiohttp

        self.session = aiohttp.ClientSession()
        self.socket = await self.session.ws_connect(address, max_msg_size=0)

    def command(self, method: str, **parameters):
        """Send a command and return its result; what the page writes to its console is kept."""
        return self._run(self._command(method, parameters))

    async def _command(self, method: str, parameters: dict):
        self.sent += 1
        await self.socket.send_json({"id": self.sent, "method": method, "params": parameters})
        while True:
            answer = json.loads((await self.socket.receive(timeout=60)).data)
            if answer.get("method") == "log.entryAdded":
                self.complaints.append(answer["params"]["text"])
            if answer.get("id") == self.sent:
                assert answer["type"] == "success", answer
                return answer["result"]

    def open(self, page: Path) -> None:
        """Open a file, and wait until it is there."""
        self.command(
            "browsingContext.navigate", context=self.tab, url=page.resolve().as_uri(), wait="complete"
        )

    def resize(self, width: int, height: int = 900) -> None:
        """Give the tab a size in CSS pixels."""
        self.command(
            "browsingContext.setViewport", context=self.tab, viewport={"width": width, "height": height}
        )

    def evaluate(self, expression: str):
        """The value of an expression, which has to be one that JSON can say."""
        answer = self.command(
            "script.evaluate",
            expression=f"JSON.stringify({expression})", target={"context": self.tab}, awaitPromise=True,
        )  # fmt: skip
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])

    def close(self) -> None:
        """End it."""
        self._run(self.session.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.process.terminate()
        self.process.wait(30)
