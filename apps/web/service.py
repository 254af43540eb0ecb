"""The JSON service: four models, their cards, and what keeps watch over them."""

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from apps.web.answers import Answers, SearchSettings, TooLarge
from apps.web.cards import card_html, model_facts
from apps.web.gate import Busy, Counters, Gate, Workers
from common.errors import UserError

STATIC = Path(__file__).parent / "static"
PHOTOGRAPH = Path(__file__).parents[2] / "docs" / "photograph.jpg"
MOST_CHARACTERS = 20_000
# Of all texts of a request together: a minute's work at most.
_MOST_TOGETHER = {"sentiment": 200_000, "translation": 40_000}
# Requests that may wait for a free core, and the seconds that a request may take.
_WAITING, _SECONDS = 100, 30.0
_TICKER = r"^[A-Za-z0-9.^=-]{1,32}$"

Task = Literal["sentiment", "translation", "captioning", "forecasting"]
BeamSize = Annotated[int, Field(ge=1, le=12, description="Hypotheses that the beam keeps.")]
LengthPenalty = Annotated[
    float, Field(ge=0, le=4, description="Power of the length that divides a log-probability.")
]
Best = Annotated[int, Field(ge=1, le=12, description="How many hypotheses to return.")]


class Texts(BaseModel):
    """Texts to read."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"texts": ["Not the worst film, but far from a good one."]}},
    )
    texts: list[str] = Field(min_length=1, max_length=1_000)


class Sentences(Texts):
    """Texts to translate, and how to search."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"texts": ["A dog runs across the grass."], "beam_size": 5, "n_best": 2}
        },
    )
    beam_size: BeamSize | None = None
    length_penalty: LengthPenalty | None = None
    n_best: Best = 1


def create_service(
    answers: Answers,
    *,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    waiting: int = _WAITING,
    seconds: float = _SECONDS,
) -> FastAPI:
    """Builds the service.

    Args:
        answers: The loaded models.
        hosts: Names that requests may call this server by; empty for any.
        origins: Other origins whose pages may ask.
        waiting: Requests that may wait for a free core.
        seconds: Longest time of a request.
    """
    workers = Workers(count=os.cpu_count() or 1, waiting=waiting, seconds=seconds)
    counters = Counters(workers)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        workers.close()

    app = FastAPI(
        title="Recurrent-network applications",
        description="Sentiment, translation, captioning and forecasting by recurrent networks.",
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(Gate, counters=counters, hosts=hosts, origins=origins, seconds=seconds)
    _add_errors(app)
    _add_models(app, answers, workers)
    _add_inputs(app, answers)

    @app.get("/health", summary="Whether the service answers")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics", summary="Counters in the format of Prometheus")
    async def metrics() -> Response:
        return Response(generate_latest(counters.registry), media_type=CONTENT_TYPE_LATEST)

    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


def _add_models(app: FastAPI, answers: Answers, workers: Workers) -> None:
    """Adds the four tasks."""

    @app.post("/api/sentiment", summary="What reviews think, and which words tell")
    async def sentiment(texts: Texts) -> dict:
        _check_texts(texts.texts, "sentiment")
        return {"results": await workers.run(answers.sentiment, texts.texts)}

    @app.post("/api/translation", summary="Translations, and what each word attended to")
    async def translation(sentences: Sentences) -> dict:
        _check_texts(sentences.texts, "translation")
        settings = SearchSettings(**sentences.model_dump(exclude={"texts"}))
        return {"results": await workers.run(answers.translation, sentences.texts, settings)}

    @app.post(
        "/api/captioning",
        summary="Captions of a picture, and where each word looked",
        openapi_extra=_raw_body("image/*", "curl --data-binary @photo.jpg"),
    )
    async def captioning(
        request: Request,
        name: Annotated[
            str, Query(max_length=200, description="What answer and errors call the picture.")
        ] = "picture",
        beam_size: Annotated[BeamSize | None, Query()] = None,
        length_penalty: Annotated[LengthPenalty | None, Query()] = None,
        n_best: Annotated[Best, Query()] = 1,
    ) -> dict:
        settings = SearchSettings(beam_size, length_penalty, n_best)
        return await workers.run(answers.captioning, await request.body(), name, settings)

    @app.post(
        "/api/forecasting",
        summary="The distribution of the next days' prices",
        openapi_extra=_raw_body("text/csv", "curl --data-binary @AAPL.csv"),
    )
    async def forecasting(
        request: Request,
        ticker: Annotated[
            str, Query(pattern=_TICKER, description="What the answer calls the prices.")
        ] = "prices",
        as_of: Annotated[
            str | None,
            Query(pattern=r"^\d{4}-\d{2}-\d{2}$", description="The day to forecast from."),
        ] = None,
        days: Annotated[int, Query(ge=0, description="Days to forecast; 0 for all.")] = 0,
        change: Annotated[
            float, Query(gt=0, lt=100, description="Per cent, of the odds of larger moves.")
        ] = 5.0,
        exchange: Annotated[
            str, Query(max_length=12, description="Whose trading days are forecast.")
        ] = "XNYS",
        chart: Annotated[
            bool, Query(description="Add the past, what happened and the baseline's fan.")
        ] = False,
    ) -> dict:
        try:
            day = np.datetime64(as_of, "D") if as_of else None
        except ValueError:
            raise UserError(f"as_of: {as_of} is no day; write it as 2020-01-31.") from None
        return await workers.run(
            answers.forecasting,
            await request.body(),
            ticker,
            as_of=day,
            days=days,
            change=change,
            exchange=exchange,
            chart=chart,
        )


def _add_inputs(app: FastAPI, answers: Answers) -> None:
    """Adds what the page offers to try, and the model cards."""
    facts = model_facts(answers)

    @app.get("/api/models", summary="The models, their scores and their cards")
    async def models() -> dict:
        return {"models": facts}

    @app.get("/models/{task}", response_class=HTMLResponse, include_in_schema=False)
    async def card(task: Task) -> HTMLResponse:
        return HTMLResponse(card_html(task, answers.runs[task]))

    @app.get("/api/tickers", summary="Price files that are there to try")
    async def tickers() -> dict:
        return {"tickers": answers.tickers()}

    @app.get("/api/tickers/{ticker}", summary="One of these files")
    def price_file(ticker: str) -> Response:
        return Response(answers.price_file(ticker), media_type="text/csv")

    @app.get("/photograph.jpg", include_in_schema=False)
    async def photograph() -> Response:
        return Response(PHOTOGRAPH.read_bytes(), media_type="image/jpeg")


def _add_errors(app: FastAPI) -> None:
    """Makes every error one line of JSON."""

    def answer(status: int, line: str, **headers: str) -> JSONResponse:
        return JSONResponse({"error": " ".join(line.split())}, status, headers)

    @app.exception_handler(UserError)
    async def user_error(_: Request, error: UserError) -> JSONResponse:
        return answer(413 if isinstance(error, TooLarge) else 422, str(error))

    @app.exception_handler(Busy)
    async def busy(_: Request, error: Busy) -> JSONResponse:
        return answer(503, str(error), **{"Retry-After": "1"})

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:] if first["type"] != "json_invalid")
        return answer(422, f"{place or 'The body'}: {first['msg']}.")

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, f"{error.detail}.", **(error.headers or {}))

    @app.exception_handler(Exception)
    async def failure(_: Request, error: Exception) -> JSONResponse:
        logging.getLogger("uvicorn.error").error("A request failed.", exc_info=error)
        return answer(500, "The server failed on this request; its log says why.")


def _check_texts(texts: list[str], task: str) -> None:
    for number, text in enumerate(texts, start=1):
        if len(text) > MOST_CHARACTERS:
            raise TooLarge(
                f"Text {number} has {len(text):,} characters and may have {MOST_CHARACTERS:,}: cut"
                " it."
            )
    if sum(map(len, texts)) > _MOST_TOGETHER[task]:
        raise TooLarge(
            f"The texts have more than {_MOST_TOGETHER[task]:,} characters together: send several"
            " requests."
        )


def _raw_body(kind: str, example: str) -> dict:
    """Returns what OpenAPI says of a body that is a file."""
    schema = {"type": "string", "format": "binary"}
    body = {"required": True, "description": example, "content": {kind: {"schema": schema}}}
    return {"requestBody": body}
