"""Scheduled prompts: ask an agent, remember the answer, and call a webhook with it."""

from __future__ import annotations

import time

from super_advanced_agents.config import LIMITS, checked_text
from super_advanced_agents.jobs.builtin.webhooks import call_webhook, checked_url
from super_advanced_agents.jobs.context import JobContext
from super_advanced_agents.jobs.erasing import CITES, cites, with_memory
from super_advanced_agents.jobs.kinds import job
from super_advanced_agents.tenancy.context import Access, current_context
from super_advanced_agents.types import JSONValue
from super_advanced_agents.types.jobs import ANSWER_STEP


@job(timeout_s=900.0)
async def ask_agent(
    context: JobContext,
    question: str,
    *,
    agent: str | None = None,
    top_k: int = 5,
    remember: bool = True,
    webhook: str | None = None,
) -> dict[str, JSONValue]:
    """Ask an agent a question, remember its answer, and send it to a webhook.

    The answer is made once, remembered once, and sent with the job's id until the webhook has taken it. Its text is
    kept as long as the memories that it cites are, and the memory that it became.

    Args:
        context: the job.
        question: the question.
        agent: the agent; the default one when None.
        top_k: the number of memories in the prompt.
        remember: whether the answer becomes a memory of the agent, of the type `answer`.
        webhook: the URL to send the answer to, as signed JSON; None to send it nowhere.
    """
    for access in (Access.GENERATE, Access.READ, *((Access.WRITE,) if remember else ())):
        context.require(access)
    checked_text(question, "question", max_bytes=LIMITS.text_bytes)
    settings = context.runtime.settings
    if webhook is not None:
        checked_url(webhook, settings)
    workspace = context.workspace
    found = workspace.default_agent if agent is None else workspace.agent(agent)

    async def ask() -> dict[str, JSONValue]:
        await current_context().charge(workspace.agent_settings(found.name).answer_tokens)
        answer = await found.aask(question, top_k)
        told: dict[str, JSONValue] = {
            "text": answer.text,
            "grounded": answer.grounded,
            "sources": len(answer.sources),
            "at": time.time(),
        }
        return {**told, CITES: cites(found.namespace, answer.sources)}

    async def store(text: str) -> str:
        extra: dict[str, JSONValue] = {"question": question, "job": context.job_id}
        return await found.aadd_text_memory(
            text, "answer", context.uid("answer"), extra, source=f"job {context.job_id}"
        )

    answered = await context.step(ANSWER_STEP, ask)
    text = str(answered["text"])
    uid = await context.step("remember", store, text) if remember and text.strip() else None
    cited = answered.pop(CITES, None)
    result: dict[str, JSONValue] = {**answered, "agent": found.name, "uid": uid}
    if webhook is not None:
        await context.step(
            "webhook", call_webhook, webhook, {"job": context.job_id, "question": question, **result}, settings
        )
    return {**result, CITES: cited if uid is None else with_memory(cited, uid)}
