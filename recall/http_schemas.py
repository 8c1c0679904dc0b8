"""What the HTTP API takes, as OpenAPI shows it, and the shapes of what it answers."""

from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from recall.cli import TIME_MAX_MS, Age, ChannelNames, Identifier
from recall.known_note import Inspected
from recall.query import Query, Recalled
from recall.reader import ProfileView

ANSWERS = (Recalled, ProfileView, Inspected)


def _identifier(value: str) -> str:
    _converted(Identifier(), value)
    return value


def _age(value: str) -> str:
    _converted(Age(), value)
    return value


def _converted(kind: Any, value: str) -> Any:
    """As the command line reads it; what it objects to, pydantic says."""
    import click

    try:
        return kind.convert(value, None, None)
    except click.BadParameter as error:
        raise ValueError(error.message) from None


Id = Annotated[str, AfterValidator(_identifier)]
Moment = Annotated[int, Field(ge=0, le=TIME_MAX_MS, description="The moment asked about, epoch milliseconds; default is now.")]


class RecallRequest(BaseModel):
    """The body of `POST /recall`; as the options of `tagstream recall`."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"user_id": "u-17", "k": 20, "fresh_within": "24h", "explain": True}]}
    )

    user_id: Id = Field(description="The reader, 1 to 256 bytes.")
    k: Annotated[int, Field(ge=1, le=10_000, description="Notes to return.")] = 20
    fresh_within: Annotated[str, AfterValidator(_age), Field(description="Greatest age of a note: 90s, 30m, 24h, 2d, 1w or all.")] = "24h"
    as_of: Moment | None = None
    channels: Annotated[list[str], Field(min_length=1, description="Candidate sources; default those of the live bundle.")] | None = None
    explain: Annotated[bool, Field(description="Say which tags of the profile met which tags of the note.")] = False
    spend: Annotated[bool, Field(description="The answer is shown: new notes in it spend their exploration budget.")] = False

    @model_validator(mode="after")
    def _shown_now(self) -> "RecallRequest":
        if self.spend and self.as_of is not None:
            raise ValueError("spend is for an answer that is shown now; leave out as_of")
        return self

    def query(self) -> Query:
        """The question asked.

        Raises:
            ValueError: naming a channel that is none.
        """
        age = Age().convert(self.fresh_within, None, None)
        return Query(
            user_id=self.user_id,
            k=self.k,
            fresh_within_ms=None if age == Age.ALL else age,
            as_of=self.as_of,
            channels=None if self.channels is None else _converted(ChannelNames(), ",".join(self.channels)),
            explain=self.explain,
            serving=self.spend,
        )


def answer_schemas() -> dict[str, Any]:
    """JSON Schemas of the answers, for OpenAPI's components."""
    return dict(msgspec.json.schema_components(ANSWERS, ref_template="#/components/schemas/{name}")[1])
