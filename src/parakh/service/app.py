"""The FastAPI application of the many routes: who may is asked first, and every refusal is a problem detail.

`POST /v1/decisions/{event_type}` is here too, for whoever mounts the application alone; the server answers it before it
comes here, since FastAPI costs more than the decision.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import apsw
import msgspec
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from parakh import __version__
from parakh.service.access import Access
from parakh.service.guard import Guard, Telemetry
from parakh.service.ledger import BadFilter
from parakh.service.limits import Limits, Refusal
from parakh.service.logs import get_log
from parakh.service.openapi import OPERATIONS, document
from parakh.service.problems import Problem, problem
from parakh.service.reference import CONTENT_SECURITY, page
from parakh.service.routes import PUBLIC, ROUTES, Handler, Routed, Service, as_response
from parakh.service.settings import ServiceSettings

__all__ = ["create_app"]

SAVE_LAST_USED_S: Final = 60.0
_log = get_log("access")
Scopes = Mapping[tuple[str, str], str]


def create_app(
    service: Service,
    access: Access,
    limits: Limits,
    settings: ServiceSettings,
    *,
    routers: Sequence[tuple[APIRouter, Scopes]] = (),
    telemetry: Telemetry | None = None,
) -> FastAPI:
    """The application. `routers` are of other parts, each with the scope of every one of its (method, path).

    `telemetry` counts requests by route, and refusals by code. A route that has no scope is refused to everybody.
    Raises ValueError where a router has such a route.
    """
    scopes: dict[tuple[str, str], str] = {(route.method, route.path): route.scope for route in ROUTES}
    scopes |= {("GET", "/docs"): PUBLIC, ("GET", "/openapi.json"): PUBLIC}

    async def let_in(request: Request) -> AsyncIterator[None]:
        """Who asks, whether they may, and whether there is room; before anything of the request is read."""
        route = request.scope["route"]
        scope = scopes.get((request.method, route.path))
        request.state.caller = None
        if scope == PUBLIC:
            yield
            return
        caller = access.check(request.scope["headers"], scope) if scope else problem("forbidden")
        if isinstance(caller, Problem):
            raise Refusal(caller)
        turned_away = limits.enter(caller)
        if turned_away is not None:
            raise Refusal(turned_away)
        request.state.caller = caller
        try:
            yield
        finally:
            limits.leave()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async def note_use() -> None:
            while True:
                await asyncio.sleep(SAVE_LAST_USED_S)
                try:
                    await asyncio.to_thread(access.save_last_used)
                except apsw.Error as error:  # nobody is refused for it
                    _log.failed("last_use_not_saved", error)

        noting = asyncio.create_task(note_use())
        yield
        noting.cancel()

    app = FastAPI(
        title="Parakh",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        dependencies=[Depends(let_in)],
        lifespan=lifespan,
    )
    said = dict(OPERATIONS)
    for route in ROUTES:
        app.add_api_route(
            route.path,
            _endpoint(route.handler, service, limits),
            methods=[route.method],
            response_class=Response,
            openapi_extra=OPERATIONS[route.method, route.path.replace(":path}", "}")],
            name=f"{route.method} {route.path}",
        )
    for router, router_scopes in routers:
        for each in router.routes:
            assert isinstance(each, APIRoute)
            bare = [method for method in each.methods or () if (method, each.path) not in router_scopes]
            if bare:
                raise ValueError(f"{bare[0]} {each.path} has no scope")
            said |= {(method, each.path): each.openapi_extra or {} for method in each.methods or ()}
        app.include_router(router)
        scopes |= router_scopes
    _add_reference(app)
    app.openapi = lambda: _documented(app, settings, said)  # type: ignore[method-assign]
    _answer_with_problems(app)
    app.add_middleware(Guard, telemetry=telemetry)
    return app


def _endpoint(handler: Handler, service: Service, limits: Limits) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return as_response(await handler(Routed(service, limits, request, request.state.caller)), request)

    return endpoint


def _add_reference(app: FastAPI) -> None:
    """/openapi.json and /docs: made once, at the first call."""
    made: dict[str, bytes] = {}

    async def openapi(request: Request) -> Response:
        if "json" not in made:
            made["json"] = msgspec.json.encode(app.openapi())
        return Response(made["json"], media_type="application/json")

    async def docs(request: Request) -> Response:
        if "html" not in made:
            made["html"] = page(app.openapi()).encode()
        return Response(made["html"], media_type="text/html", headers={"content-security-policy": CONTENT_SECURITY})

    app.add_api_route("/openapi.json", openapi, response_class=Response, include_in_schema=False)
    app.add_api_route("/docs", docs, response_class=Response, include_in_schema=False)


def _documented(
    app: FastAPI, settings: ServiceSettings, said: Mapping[tuple[str, str], dict[str, Any]]
) -> dict[str, Any]:
    """The OpenAPI document: what FastAPI knows of the routes, with our schemas, examples and refusals."""
    if app.openapi_schema is None:
        app.openapi_schema = document(
            get_openapi(title=app.title, version=app.version, routes=app.routes), settings.limits, said
        )
    return app.openapi_schema


def _answer_with_problems(app: FastAPI) -> None:
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return as_response(error.problem, request)

    async def bad_filter(request: Request, error: Exception) -> Response:
        assert isinstance(error, BadFilter)
        return as_response(problem(error.code, error.message, field=error.parameter, hint=error.hint), request)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            allowed = _methods(app, request)
            response = as_response(
                problem("method_not_allowed", hint=f"methods here are {', '.join(allowed)}"), request
            )
            response.headers["allow"] = ", ".join(allowed)
            return response
        code = {404: "not_found", 401: "unauthorized", 403: "forbidden", 413: "body_too_large"}
        return as_response(problem(code.get(error.status_code, "bad_request")), request)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0] if error.errors() else {}
        # The message is FastAPI's own words; the input that it quotes elsewhere is left out.
        where = ".".join(str(part) for part in first.get("loc", ())[1:])
        return as_response(problem("invalid_request", str(first.get("msg", "")), field=where), request)

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(BadFilter, bad_filter)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)


def _methods(app: FastAPI, request: Request) -> list[str]:
    """The methods that the routes of an address take; Starlette itself names those of the first alone."""
    found = set[str]()
    for route in app.routes:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            if route.matches({**request.scope, "method": method})[0] is Match.FULL:
                found.add(method)
    return sorted(found)
