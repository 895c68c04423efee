"""The examples of the documentation: each is a body that its call takes."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter

from serving.messages.inferences import DecisionTaken
from serving.rest import college, custody, inferences, keys, models, patients


def routes() -> Iterator[APIRoute]:
    for thread in (models, patients, inferences, college, keys, custody):
        for route in thread.router.routes:
            if isinstance(route, APIRoute) and route.body_field is not None:
                yield route


def examples(route: APIRoute) -> Iterator[tuple[Any, object]]:
    """Every example with what must take it: of whole bodies, and of single fields."""
    assert route.body_field is not None
    form = route.body_field.field_info.annotation
    assert isinstance(form, type)
    assert issubclass(form, BaseModel)
    extra = form.model_config.get("json_schema_extra")
    shown = extra.get("examples", []) if isinstance(extra, dict) else []
    assert isinstance(shown, list)
    for example in (*(route.body_field.field_info.examples or ()), *shown):
        yield form, example
    for field in form.model_fields.values():
        for example in field.examples or ():
            yield Annotated[field.annotation, field], example


@pytest.mark.parametrize("route", list(routes()), ids=lambda route: route.name)
def test_every_example_is_taken(route: APIRoute) -> None:
    for form, example in examples(route):
        TypeAdapter(form).validate_json(json.dumps(example))


def test_the_main_job_is_shown_by_examples_and_an_example_that_is_none_is_found() -> None:
    shown = {route.name for route in routes() for _ in examples(route)}
    assert {"inform", "ask", "ask_what_if", "read_first", "decide", "tell", "confirm"} <= shown
    with pytest.raises(ValueError, match="decision"):
        TypeAdapter(DecisionTaken).validate_json('{"decision": "perhaps"}')
