"""Provide small agents for tests: one that answers, one that fails and one that waits."""

from __future__ import annotations

import asyncio

from super_advanced_agents import Answer, Match


class AnsweringAgent:
    """Answer with these texts one after another, repeating the last, and record the questions."""

    def __init__(self, *texts, sources=()):
        self.texts = list(texts)
        self.sources = list(sources)
        self.questions = []

    async def aask(self, question, top_k=5):
        """Return the next text."""
        self.questions.append(question)
        text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        return Answer(text=text, sources=self.sources[:top_k])


class FailingAgent:
    """Raise an error until it is set to None."""

    def __init__(self, error):
        self.error = error
        self.calls = 0

    async def aask(self, question, top_k=5):
        """Raise the error, or answer."""
        self.calls += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return Answer(text="I am well again.", sources=[])


class WaitingAgent:
    """Answer once `go` is set; `begun` and `cleaned_up` show the progress of a call."""

    def __init__(self, text="At last."):
        self.text = text
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.cleaned_up = False
        self.active = 0

    async def aask(self, question, top_k=5):
        """Wait for `go`."""
        self.active += 1
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # ending takes an iteration of the loop, and the caller waits for it
            self.cleaned_up = True
            raise
        finally:
            self.active -= 1
        return Answer(text=self.text, sources=[])


def memory(text, uid="m1"):
    """Return one match."""
    return Match({"text": text}, 0.5, uid)
