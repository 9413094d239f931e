"""Changes to what an outcome of a request means."""

from collections.abc import Callable
from typing import Any

import pytest

from dynatomic.dynamodb import answers, statements
from dynatomic.dynamodb.answers import Applied, Rejected, Retry
from dynatomic.dynamodb.statements import Change, Step
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.row import Reason
from tests.support.mutation_registry import (
    AT_LEAST_ONCE,
    EXACTLY_ONCE,
    counters,
    found_by_model,
    writer,
)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def takes_an_unknown_outcome_for_done(patch: pytest.MonkeyPatch) -> None:
    _replace_answers(patch, lambda found: Applied() if isinstance(found, Retry) else found)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def looks_at_the_request_not_at_its_statements(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(counters, "_error_of", lambda _response: (None, "", None))


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def takes_an_item_that_is_there_for_inserted(patch: pytest.MonkeyPatch) -> None:
    _replace_meaning(patch, lambda code, found: Applied() if code == "DuplicateItem" else found)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def tries_only_the_first_of_the_failed_statements_again(patch: pytest.MonkeyPatch) -> None:
    retry = Writer._retry

    def one(self: Writer, task: Any, again: tuple[Change, ...], cause: Any) -> None:
        retry(self, task, again[:1], cause)

    patch.setattr(Writer, "_retry", one)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def refuses_an_item_as_a_whole(patch: pytest.MonkeyPatch) -> None:
    bad = Rejected(Reason.REFUSED, "")

    def whole(step: Step, _change: Change, _message: str) -> answers.Answer:
        return bad if step.alone else answers.TryStep(Step.UPDATE_ITEM)

    patch.setattr(answers, "_classify_validation", whole)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def takes_other_keys_of_a_table_for_a_defect_of_the_event(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answers, "keys_changed", lambda _message: False)


@found_by_model(EXACTLY_ONCE)
def leaves_out_sums_of_zero(patch: pytest.MonkeyPatch) -> None:
    group = statements.group_changes

    def some(sums: Any, fence: Any = None, expires_s: Any = None) -> Any:
        return group({ref: total for ref, total in sums.items() if total}, fence, expires_s)

    patch.setattr(writer, "group_changes", some)


def _replace_answers(patch: pytest.MonkeyPatch, change: Callable[[Any], Any]) -> None:
    execute = counters.Counters.execute

    def changed(self: Any, step: Step, batch: Any) -> list[Any]:
        return [change(found) for found in execute(self, step, batch)]

    patch.setattr(counters.Counters, "execute", changed)


def _replace_meaning(patch: pytest.MonkeyPatch, change: Callable[..., Any]) -> None:
    meaning = counters.classify_answer

    def changed(step: Step, one: Change, code: str | None, *rest: Any) -> Any:
        return change(code, meaning(step, one, code, *rest))

    patch.setattr(counters, "classify_answer", changed)
