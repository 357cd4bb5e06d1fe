"""`OrchestratorService`: several agents behind one question, as `routes.orchestrators` serves them over REST."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.orchestration import Orchestrator, Outcome, Step, Voting, Wait
from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.conversions import match_messages
from super_advanced_agents.protocol.serving import top_k_of
from super_advanced_agents.protocol.v1 import orchestrators_pb2 as messages
from super_advanced_agents.server.grpc.rpcs import Rpc
from super_advanced_agents.tenancy.orchestrators import DEFAULT_ORCHESTRATOR
from super_advanced_agents.tenancy.workspace import Workspace

_ROUNDS = 3
_VOTINGS: dict[int, Voting] = {
    messages.VOTING_UNSPECIFIED: "majority",
    messages.VOTING_MAJORITY: "majority",
    messages.VOTING_CRITIC: "critic",
    messages.VOTING_CONSENSUS: "consensus",
}
_WAITS: dict[int, Wait] = {messages.WAIT_UNSPECIFIED: "first", messages.WAIT_FIRST: "first", messages.WAIT_ALL: "all"}


def _orchestrator(name: str, workspace: Workspace, named: Iterable[str] = ()) -> Orchestrator:
    return workspace.orchestrator(name or DEFAULT_ORCHESTRATOR, list(named))


def _options(question: messages.Question) -> dict[str, Any]:
    """Keyword arguments of the library's operation that all questions share."""
    return {
        "top_k": top_k_of(question),
        "timeout_s": question.timeout_s if question.HasField("timeout_s") else None,
        "deadline_s": question.deadline_s if question.HasField("deadline_s") else None,
    }


async def _route(request: messages.RouteRequest, workspace: Workspace) -> messages.Outcome:
    asked, question = _orchestrator(request.question.orchestrator, workspace), request.question
    outcome = await asked.aroute(
        question.query,
        request.task if request.HasField("task") else None,
        request.user_id if request.HasField("user_id") else None,
        **_options(question),
    )
    return _outcome_message(outcome)


async def _chain(request: messages.ChainRequest, workspace: Workspace) -> messages.Outcome:
    names, question = list(request.names), request.question
    asked = _orchestrator(question.orchestrator, workspace, names)
    return _outcome_message(await asked.achain(question.query, names, **_options(question)))


async def _fallback(request: messages.FallbackRequest, workspace: Workspace) -> messages.Outcome:
    backups, question = list(request.backups), request.question
    asked = _orchestrator(question.orchestrator, workspace, [request.primary, *backups])
    return _outcome_message(await asked.afallback(question.query, request.primary, backups, **_options(question)))


async def _parallel(request: messages.ParallelRequest, workspace: Workspace) -> messages.Outcome:
    names, question = list(request.names), request.question
    wait = request.quorum if request.WhichOneof("enough") == "quorum" else _WAITS.get(request.wait)
    if wait is None:
        raise InvalidInputError(f"wait has no meaning {int(request.wait)}", field="wait")
    asked = _orchestrator(question.orchestrator, workspace, names)
    return _outcome_message(await asked.aparallel(question.query, names or None, wait=wait, **_options(question)))


async def _collaborate(request: messages.CollaborateRequest, workspace: Workspace) -> messages.Outcome:
    names, question = list(request.names), request.question
    voting = _VOTINGS.get(request.voting)
    if voting is None:
        raise InvalidInputError(f"voting has no meaning {int(request.voting)}", field="voting")
    critic = request.critic if request.HasField("critic") else None
    asked = _orchestrator(question.orchestrator, workspace, names if critic is None else [*names, critic])
    outcome = await asked.acollaborate(
        question.query,
        names,
        voting,
        critic=critic,
        max_rounds=request.max_rounds if request.HasField("max_rounds") else _ROUNDS,
        **_options(question),
    )
    return _outcome_message(outcome)


async def _supervise(request: messages.SuperviseRequest, workspace: Workspace) -> messages.SuperviseResponse:
    report = await _orchestrator(request.orchestrator, workspace).asupervise()
    return messages.SuperviseResponse(report=orjson.dumps(report))


async def _list(request: messages.ListOrchestratorsRequest, workspace: Workspace) -> messages.ListOrchestratorsResponse:
    del request
    return messages.ListOrchestratorsResponse(
        orchestrators=[
            messages.Orchestrator(name=name, agents=workspace.orchestrator(name).agents)
            for name in workspace.orchestrators
        ]
    )


def _outcome_message(outcome: Outcome) -> messages.Outcome:
    return messages.Outcome(
        text=outcome.text,
        agent=outcome.agent,
        agents=outcome.agents,
        sources=match_messages(outcome.sources),
        steps=[_step_message(step) for step in outcome.steps],
        reason=outcome.reason,
        agreement=outcome.agreement,
        rounds=outcome.rounds,
        latency_s=outcome.latency_s,
    )


def _step_message(step: Step) -> messages.Step:
    return messages.Step(
        agent=step.agent,
        status=step.status,
        text=step.text,
        sources=match_messages(step.sources),
        latency_s=step.latency_s,
        error=step.error,
        round=step.round,
    )


RPCS = (
    Rpc(methods.ROUTE, _route),
    Rpc(methods.CHAIN, _chain),
    Rpc(methods.FALLBACK, _fallback),
    Rpc(methods.PARALLEL, _parallel),
    Rpc(methods.COLLABORATE, _collaborate),
    Rpc(methods.SUPERVISE, _supervise),
    Rpc(methods.LIST_ORCHESTRATORS, _list),
)
"""The service's methods."""
