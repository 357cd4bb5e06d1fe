"""Small agents that are what a test needs: steady, slow, failing, forgetful, listening."""

from __future__ import annotations

import asyncio

from super_advanced_agents import Answer, Match


class Says:
    """Answers with these texts, one after another, the last one for ever; keeps what it was asked."""

    def __init__(self, *texts, sources=()):
        self.texts = list(texts)
        self.sources = list(sources)
        self.asked = []

    async def aask(self, question, top_k=5):
        """The next text."""
        self.asked.append(question)
        text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        return Answer(text=text, sources=self.sources[:top_k])


class Fails:
    """Raises, until it is told to answer."""

    def __init__(self, error):
        self.error = error
        self.calls = 0

    async def aask(self, question, top_k=5):
        """Raise, or answer."""
        self.calls += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return Answer(text="I am well again.", sources=[])


class Waits:
    """Answers when it is let go; tells when it has begun, and whether it was cancelled to the end."""

    def __init__(self, text="At last."):
        self.text = text
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.cleaned_up = False
        self.active = 0

    async def aask(self, question, top_k=5):
        """Wait."""
        self.active += 1
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # ending takes a turn of the loop, and is waited for
            self.cleaned_up = True
            raise
        finally:
            self.active -= 1
        return Answer(text=self.text, sources=[])


def memory(text, uid="m1"):
    """One memory."""
    return Match({"text": text}, 0.5, uid)
